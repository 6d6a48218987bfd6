"""Record when each frame reaches the peer, and how long it is, in a process of its own."""

from __future__ import annotations

import argparse
import dataclasses
import json
import select
import struct
import sys
import time
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

from bench.lab import worker
from bench.lab.errors import LossError
from bench.lab.filters import Wanted, assemble
from bench.lab.law import Frame
from bench.lab.namespaces import Namespace
from bench.lab.ring import RETIRE_MS, Caught, Ring

SNAP_BYTES = 80  # chosen: Ethernet, a VLAN tag, IPv6 and the TCP header without options
STOP_S = 60.0  # chosen: what a capture of millions of frames gets to hand them over
LOOK_S = 0.1  # chosen: how often the ring is looked at; it takes a flood half a second to fill
PREFIX = struct.Struct("=I")  # length of the JSON that precedes the arrays


@dataclass(frozen=True)
class Recording:
    """What a capture saw, in the order of time.

    Attributes:
        times_ns: when each frame arrived (CLOCK_REALTIME, stamped by the kernel).
        wire_bytes: the length of each, link-layer header included, frame check excluded.
        headers: the first SNAP_BYTES of each, one after another, filled up with zeros.
        lost: frames that arrived and were not recorded.

    """

    times_ns: array[int]
    wire_bytes: array[int]
    headers: bytes
    lost: int

    @property
    def frames(self) -> list[Frame]:
        """Time and size of every frame, as `bench.lab.law` takes them."""
        return list(zip(self.times_ns, self.wire_bytes, strict=True))

    def header(self, index: int) -> bytes:
        """Return the first SNAP_BYTES of one frame."""
        return self.headers[index * SNAP_BYTES : (index + 1) * SNAP_BYTES]


class Capture(worker.Worker):
    """A recording under way at an interface of a namespace; a context manager."""

    def __init__(self, namespace: Namespace, interface: str, wanted: Wanted | None = None) -> None:
        chosen = json.dumps(dataclasses.asdict(wanted or Wanted()))
        super().__init__(namespace, __name__, interface, chosen)

    def __enter__(self) -> Capture:
        return self

    def stop(self, *, is_loss_allowed: bool = False) -> Recording:
        """End the capture and return what it saw.

        Raises:
            LossError: it missed frames (unless told that this may be), so its rates are too low
                and its bursts too small.

        """
        return parse(self.finish(STOP_S), is_loss_allowed=is_loss_allowed)


def parse(report: bytes, *, is_loss_allowed: bool = False) -> Recording:
    """Read a recording from what `Recorder.report` wrote.

    Raises:
        LossError: frames are missing from it and that is not allowed.

    """
    (size,) = PREFIX.unpack_from(report)
    arrays = memoryview(report)[PREFIX.size + size :]
    summary = json.loads(report[PREFIX.size : PREFIX.size + size])
    count, lost = summary["frames"], summary["lost"]
    if lost and not is_loss_allowed:
        raise LossError(f"the capture missed {lost} of {count + lost} frames")
    times_ns, wire_bytes = array("q"), array("I")
    times_ns.frombytes(arrays[: 8 * count])
    wire_bytes.frombytes(arrays[8 * count : 12 * count])
    return Recording(times_ns, wire_bytes, bytes(arrays[12 * count :]), lost)


class Recorder:
    """Collects frames inside the capturing process."""

    def __init__(self) -> None:
        self._caught: list[Caught] = []

    def take(self, arrived: Iterable[Caught]) -> None:
        """Add frames."""
        self._caught += arrived

    def report(self, lost: int) -> bytes:
        """Return all of it as one message.

        Two cores may hand over frames that they stamped in the other order, so they are sorted.
        """
        self._caught.sort(key=lambda caught: caught[0])
        summary = json.dumps({"frames": len(self._caught), "lost": lost}).encode()
        times_ns = array("q", (time_ns for time_ns, _, _ in self._caught))
        wire_bytes = array("I", (size for _, size, _ in self._caught))
        headers = b"".join(header.ljust(SNAP_BYTES, b"\0") for _, _, header in self._caught)
        prefix = PREFIX.pack(len(summary)) + summary
        return b"".join((prefix, times_ns.tobytes(), wire_bytes.tobytes(), headers))


def main() -> None:
    """Record until standard input ends, then write the recording."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("interface")
    parser.add_argument("wanted", type=json.loads, help="a Wanted as JSON")
    options = parser.parse_args()
    ring = Ring(options.interface, assemble(Wanted(**options.wanted), SNAP_BYTES))
    recorder = Recorder()
    worker.announce_ready()
    while not worker.input_ended():
        select.select([0], [], [], LOOK_S)
        if ring.is_filling():
            recorder.take(ring.read())
    # A block that is not full is handed over only when it has waited for its time.
    time.sleep(4 * RETIRE_MS / 1000)
    recorder.take(ring.read())
    sys.stdout.buffer.write(recorder.report(ring.lost()))
    ring.close()


if __name__ == "__main__":
    main()

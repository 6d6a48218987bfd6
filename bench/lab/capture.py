"""Record when each frame reaches the peer, and how long it is, in a process of its own."""

from __future__ import annotations

import select
import time
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

from bench.lab.errors import LossError
from bench.lab.filters import Wanted, assemble
from bench.lab.law import Frame
from bench.lab.namespaces import Namespace
from bench.lab.ring import RETIRE_MS, Caught, Ring
from bench.lab.task import Ready, Task

SNAP_BYTES = 80  # chosen: Ethernet, a VLAN tag, IPv6 and the TCP header without options
STOP_S = 60.0  # chosen: what a capture of millions of frames gets to hand them over
LOOK_S = 0.1  # chosen: how often the ring is looked at; it takes a flood half a second to fill


@dataclass(frozen=True)
class Recording:
    """What a capture saw, in the order of time."""

    times_ns: array[int]  # when each frame arrived (CLOCK_REALTIME, stamped by the kernel)
    wire_bytes: array[int]  # of each, link-layer header included, frame check excluded
    headers: bytes  # the first SNAP_BYTES of each, one after another, filled up with zeros
    lost: int  # frames that arrived and were not recorded

    @property
    def frames(self) -> list[Frame]:
        """Time and size of every frame, as `bench.lab.law` takes them."""
        return list(zip(self.times_ns, self.wire_bytes, strict=True))

    def header(self, index: int) -> bytes:
        """Return the first SNAP_BYTES of one frame."""
        return self.headers[index * SNAP_BYTES : (index + 1) * SNAP_BYTES]

    def require_all(self) -> None:
        """Raise LossError if frames are missing: rates would be too low, bursts too small."""
        if self.lost:
            arrived = len(self.times_ns) + self.lost
            raise LossError(f"the capture missed {self.lost} of {arrived} frames")


class FrameCapture(Task):
    """A recording under way at an interface of a namespace; a context manager."""

    def __init__(self, namespace: Namespace, interface: str, wanted: Wanted | None = None) -> None:
        super().__init__(namespace, Recorder(interface, wanted or Wanted()))

    def stop(self, seconds: float = STOP_S, *, is_loss_allowed: bool = False) -> Recording:
        """End the capture and return what it saw.

        Raises:
            LossError: it missed frames (unless told that this may be).

        """
        recording: Recording = super().stop(seconds)
        if not is_loss_allowed:
            recording.require_all()
        return recording


@dataclass(frozen=True)
class Recorder:
    """Collects frames inside the capturing process."""

    interface: str
    wanted: Wanted

    def __call__(self, ready: Ready) -> Recording:
        """Work until told to end."""
        ring = Ring(self.interface, assemble(self.wanted, SNAP_BYTES))
        caught: list[Caught] = []
        over = ready()
        while not select.select([over], [], [], LOOK_S)[0]:
            if ring.is_filling():
                caught += ring.read()
        # A block that is not full is handed over only when it has waited for its time.
        time.sleep(2 * RETIRE_MS / 1000)
        caught += ring.read()
        return record(caught, ring.lost())


def record(caught: Iterable[Caught], lost: int) -> Recording:
    """Return a recording of frames, in whatever order two processors handed them over."""
    frames = sorted(caught, key=lambda each: each.time_ns)
    times_ns = array("q", (time_ns for time_ns, _, _ in frames))
    wire_bytes = array("I", (size for _, size, _ in frames))
    headers = b"".join(header.ljust(SNAP_BYTES, b"\0") for _, _, header in frames)
    return Recording(times_ns, wire_bytes, headers, lost)

"""Those that are compared: the bare cable, the kernel's shapers, and the one of this project.

All get the same traffic and a queue of the same length: 50 ms of the rate, ten full frames at
least. Buckets are what their documentation asks for: tbf's the rate of one tick of the kernel's
HZ, as tc-tbf(8) says, htb's what tc computes, the shaper's its default. To the queue in htb an
offload frame is one frame, so with TCP it holds more than the others. CAKE and the leaves of
fq_codel have the queue that is their default.
"""

from __future__ import annotations

from typing import Protocol

from bench.lab.daemon import Shaperd
from bench.lab.errors import LabError
from bench.lab.namespaces import Namespace
from bench.lab.wait import wait_until
from bench.lanes import Lane
from shapecfg.client import Client
from shaper.model import Options

FULL_FRAME_BYTES = 1514

# Chosen.
QUEUE_MS = 50
MIN_QUEUE_FRAMES = 10
MAX_QUEUE_FRAMES = 10_000
MIN_TBF_BUCKET_BYTES = 1600  # tbf never passes a frame larger than its bucket
CALL_S = 30.0
DELAY = "20ms"  # of those that delay
DEFAULT_QUEUE = Options().queue.value


def queue_frames(rate_bits: int) -> int:
    """Return how many full frames may wait at a rate."""
    frames = rate_bits * QUEUE_MS // (8 * 1000 * FULL_FRAME_BYTES)
    return min(max(frames, MIN_QUEUE_FRAMES), MAX_QUEUE_FRAMES)


class ComparedShaper(Protocol):
    """One that is compared.

    Attributes:
        name: how tables call it.

    """

    name: str

    def shape(self, lane: Lane, rate_bits: int) -> None:
        """Make the lane's traffic leave at a rate, from an empty queue.

        Raises:
            LabError: it cannot be had on this machine; the message says why.

        """

    def release(self, lane: Lane) -> None:
        """Take it off the lane, with whatever still waits in it."""

    def processes(self) -> dict[str, int]:
        """Return the processes that work for it, by name."""


class Bare:
    """Nothing at all: what the cable and the machine can do."""

    name = "bare"

    def __init__(self, host: Namespace) -> None:
        self._host = host

    def shape(self, lane: Lane, rate_bits: int) -> None:
        """Send the traffic straight out."""
        self._host.ip(lane.route(lane.master))

    def release(self, lane: Lane) -> None:
        """Nothing is to be taken off."""

    def processes(self) -> dict[str, int]:
        """Return none."""
        return {}


class QdiscShaper:
    """A shaper of the kernel, on the lane's master."""

    name = "qdisc"

    def __init__(self, host: Namespace) -> None:
        self._host = host

    def shape(self, lane: Lane, rate_bits: int) -> None:
        """Route over the master and set its qdisc up."""
        self._host.ip(lane.route(lane.master))
        for command in self.commands(lane.master, rate_bits):
            self._host.run(["tc", *command.split()])

    def commands(self, device: str, rate_bits: int) -> list[str]:
        """Return what to tell tc."""
        raise NotImplementedError

    def release(self, lane: Lane) -> None:
        """Remove the qdisc; what waits in it is dropped."""
        self._host.run(["tc", "qdisc", "del", "dev", lane.master, "root"], check=False)

    def processes(self) -> dict[str, int]:
        """Return none: it works inside the kernel."""
        return {}


class Tbf(QdiscShaper):
    """The token bucket filter (tc-tbf(8)).

    Args:
        host: where it is.
        kernel_hz: ticks a second of the kernel.
        bucket_bytes: its bucket; 0: what the manual asks for.

    """

    name = "tbf"

    def __init__(self, host: Namespace, kernel_hz: int, bucket_bytes: int = 0) -> None:
        super().__init__(host)
        self._kernel_hz = kernel_hz
        self._bucket_bytes = bucket_bytes

    def bucket_bytes(self, rate_bits: int) -> int:
        """Return the bucket at a rate: that of one tick, as the manual says, if none was set."""
        tick_bytes = rate_bits // (8 * self._kernel_hz)
        return self._bucket_bytes or max(MIN_TBF_BUCKET_BYTES, tick_bytes)

    def with_bucket(self, bucket_bytes: int) -> Tbf:
        """Return the same with another bucket."""
        return Tbf(self._host, self._kernel_hz, bucket_bytes)

    def commands(self, device: str, rate_bits: int) -> list[str]:
        """Return the command that sets it up."""
        bucket = self.bucket_bytes(rate_bits)
        limit = queue_frames(rate_bits) * FULL_FRAME_BYTES + bucket
        sizes = f"rate {rate_bits}bit burst {bucket} limit {limit}"
        return [f"qdisc replace dev {device} root handle 1: tbf {sizes}"]


class Htb(QdiscShaper):
    """One class of the hierarchical token bucket (tc-htb(8)), with a plain queue in it."""

    name = "htb"

    def commands(self, device: str, rate_bits: int) -> list[str]:
        """Return the commands that set it up."""
        rate = f"rate {rate_bits}bit ceil {rate_bits}bit quantum {FULL_FRAME_BYTES}"
        # In frames: a limit in bytes drops every offload frame that is larger than it.
        limit = queue_frames(rate_bits)
        return [
            f"qdisc replace dev {device} root handle 1: htb default 1",
            f"class replace dev {device} parent 1: classid 1:1 htb {rate}",
            f"qdisc replace dev {device} parent 1:1 handle 2: pfifo limit {limit}",
        ]


class TbfLeaf(Tbf):
    """The token bucket filter, with fq_codel (tc-fq_codel(8)) in the place of its queue."""

    name = "tbf+fq_codel"

    def commands(self, device: str, rate_bits: int) -> list[str]:
        """Return the commands that set it up."""
        leaf = f"qdisc replace dev {device} parent 1:1 handle 2: fq_codel"
        return [*super().commands(device, rate_bits), leaf]


class HtbLeaf(Htb):
    """One class of the hierarchical token bucket, with fq_codel in it."""

    name = "htb+fq_codel"

    def commands(self, device: str, rate_bits: int) -> list[str]:
        """Return the commands that set it up."""
        leaf = f"qdisc replace dev {device} parent 1:1 handle 2: fq_codel"
        return [*super().commands(device, rate_bits)[:-1], leaf]


class Cake(QdiscShaper):
    """CAKE (tc-cake(8)), told the rate and nothing else."""

    name = "cake"

    def commands(self, device: str, rate_bits: int) -> list[str]:
        """Return the command that sets it up."""
        return [f"qdisc replace dev {device} root cake bandwidth {rate_bits}bit"]


class Netem(QdiscShaper):
    """The network emulator (tc-netem(8)), for a delay and nothing else."""

    name = "netem"

    def commands(self, device: str, rate_bits: int) -> list[str]:
        """Return the command that sets it up; the rate is not its own."""
        return [f"qdisc replace dev {device} root netem delay {DELAY}"]


class OwnShaper:
    """The shaper of this project: a device for each lane, all in one daemon.

    Args:
        host: where it is.
        shaperd: the daemon.
        queue: of every device.
        bucket_bytes: of every device; 0: the default.
        delay: of every device, as `shapecfg set` takes it.
        name: how tables call it.

    """

    def __init__(
        self,
        host: Namespace,
        shaperd: Shaperd,
        queue: str = DEFAULT_QUEUE,
        *,
        bucket_bytes: int = 0,
        delay: str = "default",
        name: str = "shaper",
    ) -> None:
        self.name = name
        self._bucket_bytes = bucket_bytes
        self._delay = delay
        self._host = host
        self._shaperd = shaperd
        self._queue = queue
        self._client = Client(str(shaperd.socket), timeout_seconds=CALL_S)

    def shape(self, lane: Lane, rate_bits: int) -> None:
        """Make the device if there is none yet, set it, and route over it."""
        if all(each["ifname"] != lane.shaper for each in self._client.show()):
            self._client.add(lane.shaper)
            self._client.attach(lane.shaper, lane.master)
        self._client.set_speed(lane.shaper, rate_bits)
        options = {"queue": self._queue, "burst_bytes": self._bucket_bytes}
        options |= {"line": {"delay": self._delay}}
        self._client.set_options(lane.shaper, options)
        self._host.ip(f"link set {lane.shaper} up", lane.route(lane.shaper))
        wait_until(lambda: self._is_active(lane), f"{lane.shaper} to be active")

    def _is_active(self, lane: Lane) -> bool:
        (shown,) = self._client.show(lane.shaper)
        return shown["state"] == "active"

    def with_bucket(self, bucket_bytes: int) -> OwnShaper:
        """Return the same with another bucket."""
        return OwnShaper(
            self._host, self._shaperd, self._queue, bucket_bytes=bucket_bytes, name=self.name
        )

    def release(self, lane: Lane) -> None:
        """Take the device down, which drops what waits in it."""
        self._host.ip(f"link set {lane.shaper} down")

    def processes(self) -> dict[str, int]:
        """Return the supervisor and the forwarders."""
        pids = self._shaperd.forwarder_pids()
        forwarders = {f"forwarder {at}": pid for at, pid in enumerate(pids, 1)}
        return {"supervisor": self._shaperd.pid, **forwarders}


def obstacle(shaper: ComparedShaper, lane: Lane) -> str:
    """Return why one cannot be compared on this machine, or an empty string."""
    try:
        shaper.shape(lane, 10**6)
    except LabError as error:
        return str(error)
    finally:
        shaper.release(lane)
    return ""

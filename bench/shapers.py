"""Those that are compared: the bare cable, the kernel's shapers, and the one of this project.

All get the same traffic and a queue of the same length: 50 ms of the rate, ten full frames at
least. Buckets are what their documentation asks for: tbf's the rate of one tick of the kernel's
HZ, as tc-tbf(8) says, htb's what tc computes, the shaper's its default. To the queue in htb an
offload frame is one frame, so with TCP it holds more than the others. CAKE and the leaves of
fq_codel have the queue that is their default.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.lab.daemon import Shaperd
from bench.lab.errors import LabError
from bench.lab.flow import FULL_FRAME_BYTES
from bench.lab.meters import DEFAULT_KERNEL_HZ, kernel_hz
from bench.lab.namespaces import Namespace
from bench.lab.wait import wait_until
from bench.lanes import Lane
from shapecfg.client import Client
from shaper.model import Options

# Chosen.
QUEUE_MS = 50
MIN_QUEUE_FRAMES = 10
MAX_QUEUE_FRAMES = 10_000
MIN_TBF_BUCKET_BYTES = 1600  # tbf never passes a frame larger than its bucket
CALL_S = 30.0
DELAY = "20ms"  # of those that delay
DEFAULT_QUEUE = Options().queue.value
LEAF = "qdisc parent 1:1 handle 2:"


@dataclass(frozen=True, eq=False)
class Bare:
    """Nothing at all: what the cable and the machine can do. The others do it their way."""

    host: Namespace
    name: str = "bare"  # in tables
    bucket_bytes: int = 0  # 0: its own choice

    def shape(self, lane: Lane, rate_bits: int) -> None:
        """Make the lane's traffic leave at a rate, from an empty queue.

        Raises:
            LabError: it cannot be had on this machine; the message says why.

        """
        self.host.ip(lane.route(lane.master))

    def release(self, lane: Lane) -> None:
        """Take it off the lane, with whatever still waits in it."""

    def processes(self) -> dict[str, int]:
        """Return the processes that work for it, by name."""
        return {}

    def obstacle(self, lane: Lane) -> str:
        """Return why it cannot be compared on this machine, or an empty string."""
        try:
            self.shape(lane, 10**6)
        except LabError as error:
            return str(error)
        finally:
            self.release(lane)
        return ""


# What to tell tc: an object and its words, from a rate and a bucket.
Commands = Callable[[int, int], list[str]]


@dataclass(frozen=True, eq=False)
class QdiscShaper(Bare):
    """A shaper of the kernel, on the lane's master."""

    commands: Commands = lambda _rate, _bucket: []

    def shape(self, lane: Lane, rate_bits: int) -> None:
        """Route over the master and set its qdisc up."""
        super().shape(lane, rate_bits)
        for command in self.commands(rate_bits, self.bucket_bytes):
            kind, *words = command.split()
            self.host.run(["tc", kind, "replace", "dev", lane.master, *words])

    def release(self, lane: Lane) -> None:
        """Remove the qdisc; what waits in it is dropped."""
        self.host.run(["tc", "qdisc", "del", "dev", lane.master, "root"], check=False)


def queue_frames(rate_bits: int) -> int:
    """Return how many full frames may wait at a rate."""
    frames = rate_bits * QUEUE_MS // (8 * 1000 * FULL_FRAME_BYTES)
    return min(max(frames, MIN_QUEUE_FRAMES), MAX_QUEUE_FRAMES)


def tbf(rate_bits: int, bucket_bytes: int) -> list[str]:
    """Set up the token bucket filter (tc-tbf(8)); its bucket is a tick, as the manual says."""
    # A kernel of fewer ticks than the usual has finer timers, too.
    hz = max(kernel_hz() or 0, DEFAULT_KERNEL_HZ)
    bucket = bucket_bytes or max(MIN_TBF_BUCKET_BYTES, rate_bits // (8 * hz))
    limit = queue_frames(rate_bits) * FULL_FRAME_BYTES + bucket
    return [f"qdisc root handle 1: tbf rate {rate_bits}bit burst {bucket} limit {limit}"]


def tbf_leaf(rate_bits: int, bucket_bytes: int) -> list[str]:
    """Set up the same, with fq_codel (tc-fq_codel(8)) in the place of its queue."""
    return [*tbf(rate_bits, bucket_bytes), f"{LEAF} fq_codel"]


def htb(rate_bits: int, _bucket_bytes: int, leaf: str = "") -> list[str]:
    """Set up one class of the hierarchical token bucket (tc-htb(8)), with a plain queue in it."""
    rate = f"rate {rate_bits}bit ceil {rate_bits}bit quantum {FULL_FRAME_BYTES}"
    # In frames: a limit in bytes drops every offload frame that is larger than it.
    return [
        "qdisc root handle 1: htb default 1",
        f"class parent 1: classid 1:1 htb {rate}",
        f"{LEAF} {leaf or f'pfifo limit {queue_frames(rate_bits)}'}",
    ]


def htb_leaf(rate_bits: int, bucket_bytes: int) -> list[str]:
    """Set up the same, with fq_codel in it."""
    return htb(rate_bits, bucket_bytes, "fq_codel")


def cake(rate_bits: int, _bucket_bytes: int) -> list[str]:
    """Set up CAKE (tc-cake(8)), told the rate and nothing else."""
    return [f"qdisc root cake bandwidth {rate_bits}bit"]


def netem(_rate_bits: int, _bucket_bytes: int) -> list[str]:
    """Set up the network emulator (tc-netem(8)), for a delay and nothing else."""
    return [f"qdisc root netem delay {DELAY}"]


@dataclass(frozen=True, eq=False, kw_only=True)
class OwnShaper(Bare):
    """The shaper of this project: a device for each lane, all in one daemon."""

    name: str = "shaper"
    shaperd: Shaperd
    queue: str = DEFAULT_QUEUE  # of every device
    delay: str = "default"  # the same, as `shapecfg set` takes it

    @property
    def client(self) -> Client:
        """What the daemon is told by."""
        return Client(str(self.shaperd.socket), timeout_seconds=CALL_S)

    def shape(self, lane: Lane, rate_bits: int) -> None:
        """Make the device if there is none yet, set it, and route over it."""
        client = self.client
        if all(each["ifname"] != lane.shaper for each in client.show()):
            client.add(lane.shaper)
            client.attach(lane.shaper, lane.master)
        client.set_speed(lane.shaper, rate_bits)
        options = {"queue": self.queue, "burst_bytes": self.bucket_bytes}
        client.set_options(lane.shaper, {**options, "line": {"delay": self.delay}})
        self.host.ip(f"link set {lane.shaper} up", lane.route(lane.shaper))
        wait_until(
            lambda: client.show(lane.shaper)[0]["state"] == "active", f"{lane.shaper} to be active"
        )

    def release(self, lane: Lane) -> None:
        """Take the device down, which drops what waits in it."""
        self.host.ip(f"link set {lane.shaper} down")

    def processes(self) -> dict[str, int]:
        """Return the supervisor and the forwarders."""
        return self.shaperd.processes()

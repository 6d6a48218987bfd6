"""The main job, performed: `make run`.

Two namespaces stand in for this machine with its NIC and for a remote host. The real shaperd is
started, the four lines of 1996 are run with the real shapecfg, and UDP and TCP are sent through
shaper0 at three speeds. What counts is what arrives: every frame is timed at the remote end.

The rate is taken between the first frame and the last, which is exact however few the frames, as
long as the link always had work; so a few seconds do at 64 kbit/s, too. The first of the time is
left out of it, for a bucket that was full is not part of the rate, but not out of the burst.

On a virtual machine the hypervisor may stop the processors for longer than a bucket lasts. A rate
that is off while it did is measured again, and that is said.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from bench.lab.daemon import Shaperd
from bench.lab.errors import LabError, MissingError
from bench.lab.meters import processors
from bench.lab.privilege import prepare
from bench.lab.topology import HOST, MASTER, NIC, REMOTE, REMOTE_NETWORK, Pair, make_pair
from bench.lab.wait import wait_until
from bench.lanes import Lane
from bench.measure import Job, MeasurementTrial
from bench.results import Measurement
from bench.shapers import OwnShaper
from bench.terminal import Progress, table
from bench.workload import Traffic, spell_rate

LIMIT_PERCENT = 1.0  # specified: a rate further off than this fails the run
LANE = Lane(MASTER, NIC, "shaper0", HOST, REMOTE_NETWORK, REMOTE)
TRAFFIC = (
    Traffic("udp", udp_frame_bytes=1042),
    # A ping may find an idle link, and what leaves at once after it is no part of the rate.
    Traffic("tcp", tcp_flows=1, is_pinged=False),
)

# Chosen.
SPEEDS = {64_000: 8.0, 10_000_000: 3.0, 100_000_000: 3.0}  # bits per second: seconds of traffic
REPEATS = 2  # of measurements that the hypervisor disturbed, so that a minute is enough for all


@dataclass(frozen=True, eq=False, kw_only=True)
class FourLines(OwnShaper):
    """The shaper as it was set up in 1996; its speed is changed live."""

    def set_up(self) -> None:
        """Run the four lines, the last two with iproute2 where net-tools are missing."""
        device, network = LANE.shaper, LANE.network.partition("/")[0]
        if shutil.which("ifconfig") and shutil.which("route"):
            mask = "netmask 255.255.255.240 broadcast 10.0.0.15"
            lines = [f"ifconfig {device} {LANE.source} {mask} up"]
            lines.append(f"route add -net {network} netmask 255.255.255.0 dev {device}")
        else:
            lines = [f"ip addr add {LANE.source}/28 broadcast 10.0.0.15 dev {device}"]
            lines += [f"ip link set {device} up", f"ip route add {LANE.network} dev {device}"]
        speed = f"shapecfg speed {device} {min(SPEEDS)}"
        for line in (f"shapecfg attach {device} {LANE.master}", speed, *lines):
            print(f"  # {line}", flush=True)
            program, *arguments = line.split()
            if program == "shapecfg":
                self.shaperd.configure(*arguments)
            else:
                self.host.run([program, *arguments])

    def shape(self, lane: Lane, rate_bits: int) -> None:
        """Set the speed; what still waits would take minutes at the lowest one."""
        if rate_bits == min(SPEEDS):
            show, name = self.shaperd.show, lane.shaper
            wait_until(lambda: not show(name)["stats"]["backlog_packets"], "an empty queue")
        self.shaperd.configure("speed", lane.shaper, str(rate_bits))

    def release(self, lane: Lane) -> None:
        """Leave it as it is."""


def measure(pair: Pair, job: Job, spare: Iterator[int]) -> Measurement:
    """Set the speed, send, and judge what arrived; again if the machine stood still."""
    found = attempt(pair, job)
    while not is_good(found) and is_disturbed(found) and next(spare, 0):
        print(
            f"{found.traffic} at {spell_rate(found.rate_bits)}: {found.ends_error_percent:+.2f} %"
            f", but the hypervisor stopped the processors for {stolen_s(found):.2f} s: again"
        )
        found = attempt(pair, job)
    return found


def attempt(pair: Pair, job: Job) -> Measurement:
    """Measure once."""
    label, seconds = f"{job.traffic.name} at {spell_rate(job.rate_bits)}", SPEEDS[job.rate_bits]
    progress = Progress()
    if not sys.stdout.isatty():
        progress.say(f"{label}: sending for {seconds:g} s")
    with progress.turn(label) as turn:
        (found,) = MeasurementTrial(pair, [job], seconds, turn).run()
    if found.ends_error_percent is None:
        raise LabError(f"{label}: too little arrived; {found.lost_frames} frames were missed")
    return found


def is_good(found: Measurement) -> bool:
    """Whether the rate is what was asked for."""
    return abs(found.ends_error_percent or 0.0) <= LIMIT_PERCENT


def stolen_s(found: Measurement) -> float:
    """Return what the hypervisor took while it was measured, of all processors."""
    return found.steal_percent / 100 * found.seconds * processors()


def is_disturbed(found: Measurement) -> bool:
    """Whether the machine may have stood still for most of the time that is missing."""
    missing_s = abs(found.ends_error_percent or 0.0) / 100 * found.seconds
    return stolen_s(found) > missing_s / 2


def print_table(results: Sequence[Measurement]) -> None:
    """Print what was asked for beside what was received."""
    heads = ["", "configured", "received", "error", "largest burst"]
    lines = []
    for found in results:
        error_percent = found.ends_error_percent or 0.0
        stop = f", the processors stood still for {stolen_s(found):.2f} s" * is_disturbed(found)
        fault = "" if is_good(found) else f"  <- off{stop}"
        lines.append(
            [
                found.traffic,
                spell_rate(found.rate_bits),
                spell_rate(found.rate_bits * (1 + error_percent / 100), ".4f"),
                f"{error_percent:+.3f} %",
                f"{found.burst_bytes} bytes{fault}",
            ]
        )
    print(f"\n{table(heads, lines, left=1)}")


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let the first request to end unwind everything, undisturbed by a second one."""

    def end(number: int, _frame: object) -> None:
        for each in requests:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)  # what a shell reports for a death by this signal

    requests = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {each: signal.signal(each, end) for each in requests}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def perform() -> list[Measurement]:
    """Build everything, run the four lines, measure, and take everything down."""
    with make_pair() as pair, Shaperd(pair.host) as shaperd:
        print("host (eth1) and peer (eth0) are joined by a cable; shaperd runs on the host.")
        shaper = FourLines(pair.host, shaperd=shaperd)
        shaper.set_up()
        print()
        rows = product(TRAFFIC, SPEEDS)
        jobs = [Job(LANE, shaper, rate_bits, traffic) for traffic, rate_bits in rows]
        spare = iter(range(REPEATS, 0, -1))
        return [measure(pair, job, spare) for job in jobs]


def main() -> int:
    """Return 0 if every rate was kept, 1 if one was not, 2 if something is missing."""
    try:
        with interruptible():
            prepare()
            results = perform()
    except LabError as error:
        print(f"make run: {error}", file=sys.stderr)
        return 2 if isinstance(error, MissingError) else 1
    print_table(results)
    bad = [found for found in results if not is_good(found)]
    if bad:
        print(f"{len(bad)} of {len(results)} rates are off by more than {LIMIT_PERCENT:g} %.")
        return 1
    print(f"Every rate, measured where it arrives, is within {LIMIT_PERCENT:g} % of its setting.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

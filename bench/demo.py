"""The main job, performed: `make run`.

Two namespaces stand in for this machine with its NIC and for a remote host. The real shaperd is
started, the four lines of 1996 are run with the real shapecfg, and UDP and TCP are sent through
shaper0 at three speeds. What counts is what arrives: every frame is timed at the remote end.

The rate is taken between the first frame and the last, which is exact however few the frames, as
long as the link always had work; so a few seconds do at 64 kbit/s, too. The first half second is
left out of it, for a bucket that was full is not part of the rate, but not out of the burst.

On a virtual machine the hypervisor may stop the processors for longer than a bucket lasts. A rate
that is off while it did is measured again, and that is said.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench.lab import law
from bench.lab.capture import FrameCapture, Recording
from bench.lab.daemon import Shaperd
from bench.lab.errors import LabError, MissingError
from bench.lab.filters import Wanted
from bench.lab.meters import Meter
from bench.lab.privilege import prepare
from bench.lab.topology import HOST, MASTER, NIC, REMOTE, REMOTE_NETWORK, Pair, make_pair
from bench.lab.traffic import Flow, Load, Sender, Sink
from bench.terminal import Progress, table
from bench.workload import spell_rate

SHAPER = "shaper0"
LIMIT_PERCENT = 1.0  # specified: a rate further off than this fails the run

# Chosen.
SPEEDS = {64_000: 8.0, 10_000_000: 3.0, 100_000_000: 3.0}  # bits per second: seconds of traffic
FIRST_PORT = 9000
FRAME_BYTES = 1042  # of UDP: 1000 bytes of payload
OVERLOAD_PERCENT = 120  # what UDP offers: the link always has work, the sender has little
SEND_BUFFER_BYTES = 32_768  # of TCP below a megabit: half a minute of it would wait otherwise
WARM_UP_NS = law.NS_PER_SECOND // 2
REPEATS = 2  # of measurements that the hypervisor disturbed, so that a minute is enough for all
LOOK_S = 0.1  # how often the progress is drawn
QUIET_S = 0.1


@dataclass(frozen=True)
class Result:
    """One line of the table."""

    protocol: str
    configured_bits: int
    measured_bits: float
    error_percent: float
    burst_bytes: int
    stolen_s: float  # what the hypervisor took while it was measured, of all processors

    @property
    def is_good(self) -> bool:
        """Whether the rate is what was asked for."""
        return abs(self.error_percent) <= LIMIT_PERCENT

    @property
    def is_disturbed(self) -> bool:
        """Whether the machine may have stood still for most of the time that is missing."""
        missing_s = abs(self.error_percent) / 100 * SPEEDS[self.configured_bits]
        return self.stolen_s > missing_s / 2


class Demonstration:
    """The shaper at work in a pair of namespaces."""

    def __init__(self, pair: Pair, shaperd: Shaperd) -> None:
        self._pair = pair
        self._shaperd = shaperd
        self._progress = Progress()
        self._ports = iter(range(FIRST_PORT, 65536))
        self._speed_bits = 0
        self._repeats = REPEATS

    def set_up(self) -> None:
        """Run the four lines of 1996, the last two with iproute2 where net-tools are missing."""
        self._shapecfg("attach", SHAPER, MASTER)
        self._shapecfg("speed", SHAPER, str(min(SPEEDS)))
        network, _, _ = REMOTE_NETWORK.partition("/")
        if shutil.which("ifconfig") and shutil.which("route"):
            mask = "netmask 255.255.255.240 broadcast 10.0.0.15"
            self._run(f"ifconfig {SHAPER} {HOST} {mask} up")
            self._run(f"route add -net {network} netmask 255.255.255.0 dev {SHAPER}")
        else:
            self._run(f"ip addr add {HOST}/28 broadcast 10.0.0.15 dev {SHAPER}")
            self._run(f"ip link set {SHAPER} up")
            self._run(f"ip route add {REMOTE_NETWORK} dev {SHAPER}")

    def _run(self, line: str) -> None:
        """Print a command and run it on the host."""
        print(f"  # {line}", flush=True)
        self._pair.host.run(line.split())

    def _shapecfg(self, *arguments: str) -> None:
        """Print a shapecfg command and run it."""
        print(f"  # shapecfg {' '.join(arguments)}", flush=True)
        self._shaperd.configure(*arguments)

    def measure(self, protocol: str, rate_bits: int) -> Result:
        """Set the speed, send, and judge what arrived; again if the machine stood still."""
        result = self._attempt(protocol, rate_bits)
        while not result.is_good and result.is_disturbed and self._repeats:
            self._repeats -= 1
            print(
                f"{protocol} at {spell_rate(rate_bits)}: {result.error_percent:+.2f} %, but the "
                f"hypervisor stopped the processors for {result.stolen_s:.2f} s: again"
            )
            result = self._attempt(protocol, rate_bits)
        return result

    def _attempt(self, protocol: str, rate_bits: int) -> Result:
        """Measure once."""
        self._set_speed(rate_bits)
        meter = Meter()
        recording = self._send(Flow(protocol, REMOTE, next(self._ports)), rate_bits)
        frames = recording.frames
        if not frames:
            raise LabError(f"nothing of the {protocol} traffic arrived")
        measured = law.rate_bits(law.since(frames, frames[0][0] + WARM_UP_NS))
        return Result(
            protocol,
            rate_bits,
            float(measured),
            law.error_percent(measured, rate_bits),
            law.burst_bytes(frames, rate_bits),
            meter.spent().stolen_s,
        )

    def _set_speed(self, rate_bits: int) -> None:
        """Change the speed live; what still waits would take minutes at a much lower one."""
        if rate_bits < self._speed_bits:
            self._wait_quiet()
        self._shaperd.configure("speed", SHAPER, str(rate_bits))
        self._speed_bits = rate_bits

    def _wait_quiet(self) -> None:
        """Wait until nothing arrives any more."""
        before = -1
        while (now := self._pair.peer.received_bytes(NIC)) != before:
            before = now
            time.sleep(QUIET_S)

    def _send(self, flow: Flow, rate_bits: int) -> Recording:
        """Send one flow from host to peer and record it there."""
        seconds = SPEEDS[rate_bits]
        load = Load(
            seconds,
            frame_bytes=FRAME_BYTES,
            pace_bits=rate_bits * OVERLOAD_PERCENT // 100,
            send_buffer_bytes=SEND_BUFFER_BYTES if rate_bits < 10**6 else 0,
        )
        wanted = Wanted(flow.address, flow.protocol, flow.port)
        peer = self._pair.peer
        with Sink(peer, flow), FrameCapture(peer, NIC, wanted) as capture:
            with Sender(self._pair.host, flow, load) as sender:
                self._watch(sender, f"{flow.protocol} at {spell_rate(rate_bits)}", seconds)
                sender.wait()
            return capture.stop()

    def _watch(self, sender: Sender, label: str, seconds: float) -> None:
        """Show what arrives while a sender is at work."""
        if not sys.stdout.isatty():
            self._progress.say(f"{label}: sending for {seconds:g} s")
        start_s = time.monotonic()
        first = self._pair.peer.received_bytes(NIC)
        with self._progress.turn(label) as draw:
            while sender.is_running():
                time.sleep(LOOK_S)
                elapsed_s = time.monotonic() - start_s
                received = self._pair.peer.received_bytes(NIC) - first
                bits = 8 * received / elapsed_s
                draw(elapsed_s / seconds, f", receiving {spell_rate(bits, '.2f')}")


def print_table(results: list[Result]) -> None:
    """Print what was asked for beside what was received."""
    heads = ["", "configured", "received", "error", "largest burst"]
    lines = [
        [
            result.protocol,
            spell_rate(result.configured_bits),
            spell_rate(result.measured_bits, ".4f"),
            f"{result.error_percent:+.3f} %",
            f"{result.burst_bytes} bytes{describe_fault(result)}",
        ]
        for result in results
    ]
    print(f"\n{table(heads, lines, left=1)}")


def describe_fault(result: Result) -> str:
    """Return what to add to a line whose rate is off."""
    if result.is_good:
        return ""
    stop = f", the processors stood still for {result.stolen_s:.2f} s"
    return f"  <- off{stop if result.is_disturbed else ''}"


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


def perform() -> list[Result]:
    """Build everything, run the four lines, measure, and take everything down."""
    with make_pair() as pair, Shaperd(pair.host) as shaperd:
        print("host (eth1) and peer (eth0) are joined by a cable; shaperd runs on the host.")
        demonstration = Demonstration(pair, shaperd)
        demonstration.set_up()
        print()
        return [
            demonstration.measure(protocol, rate_bits)
            for protocol in ("udp", "tcp")
            for rate_bits in SPEEDS
        ]


def main() -> int:
    """Return 0 if every rate was kept, 1 if one was not, 2 if something is missing."""
    try:
        with interruptible():
            prepare()
            results = perform()
    except MissingError as error:
        print(f"make run: {error}", file=sys.stderr)
        return 2
    except LabError as error:
        print(f"make run: {error}", file=sys.stderr)
        return 1
    print_table(results)
    bad = [result for result in results if not result.is_good]
    if bad:
        print(f"{len(bad)} of {len(results)} rates are off by more than {LIMIT_PERCENT:g} %.")
        return 1
    print(f"Every rate, measured where it arrives, is within {LIMIT_PERCENT:g} % of its setting.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

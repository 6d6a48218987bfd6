"""From what was recorded to the figures of a measurement.

Pure: fills in a `Measurement` that says already what was measured.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.lab import law
from bench.lab.flow import ETHERNET_BYTES, FULL_FRAME_BYTES
from bench.lab.meters import Spent
from bench.lab.namespaces import Counters
from bench.lab.pump import ReceivedStream, goodput_bits
from bench.lab.ring import Caught
from bench.ping import Echoes
from bench.results import MAX_STEAL_PERCENT, Measurement
from bench.workload import DELAYED, IDLE

# Specified by Ethernet, IP and TCP.
ETHER_TYPE_IPV4 = b"\x08\x00"
PROTOCOL_TCP = 6

# Chosen.
WINDOWS_MS = (1, 10, 100)
MIN_FRAMES = 3  # of fewer no rate is told
MIN_STRETCHES = 5  # of fewer no burst is called typical
MIN_WINDOW_FRAMES = 3  # a window that holds fewer at the rate says more of frames than of shapers
UDP_OVERHEAD_BYTES = 14 + 20 + 8
NS_PER_MS = 10**6


def judge_frames(
    measurement: Measurement, caught: Sequence[Caught], lost: int, warm_up_s: float
) -> None:
    """Fill in rate, burst and smoothness, unless frames are missing from the recording."""
    measurement.lost_frames = lost
    if lost or not caught or measurement.traffic in (IDLE.name, DELAYED.name):
        return
    count, frames = to_wire(caught, is_wire=measurement.is_wire)
    measurement.frames = count
    elapsed_s = (frames[-1][0] - frames[0][0]) / law.NS_PER_SECOND
    if elapsed_s > 0:
        measurement.frames_per_second = (count - 1) / elapsed_s
        # Of UDP; of TCP the receiver knows better.
        payload = sum(size - UDP_OVERHEAD_BYTES for _, size in frames[1:])
        measurement.goodput_bits = payload * 8 / elapsed_s
    rate_bits = measurement.rate_bits
    _judge_rate(measurement, frames, warm_up_s)
    _judge_bursts(measurement, frames)
    largest_bits = 8 * max(size for _, size in frames)
    for window_ms in WINDOWS_MS:
        if rate_bits * window_ms >= 1000 * MIN_WINDOW_FRAMES * largest_bits:
            share = law.share_above(frames, rate_bits, window_ms * NS_PER_MS)
            measurement.above_percent[str(window_ms)] = float(100 * share)
    first_bytes = law.first_second_bytes(frames)
    measurement.first_second_percent = first_bytes * 800 / rate_bits
    measurement.first_second_excess_bytes = first_bytes - rate_bits // 8


def to_wire(caught: Sequence[Caught], *, is_wire: bool) -> tuple[int, list[law.Frame]]:
    """Return how many wire frames were caught, and times and wire bytes of what was caught.

    Two processors may hand over frames that they stamped in the other order, so they are sorted.
    """
    if is_wire:
        return len(caught), sorted((time_ns, length) for time_ns, length, _ in caught)
    count, frames = 0, []
    for time_ns, length, header in sorted(caught, key=lambda each: each[0]):
        number, wire_bytes = wire_frames(header, length)
        count += number
        frames.append((time_ns, wire_bytes))
    return count, frames


def wire_frames(header: bytes, length: int) -> tuple[int, int]:
    """Return as how many frames, and bytes, something captured crosses a wire.

    A veth passes on whole what a NIC would have cut. Each segment of TCP over IPv4 fills the MTU
    and repeats the headers of the first; anything else is one frame already.

    Args:
        header: its first bytes, up to the fixed part of the TCP header at least.
        length: all of it, link-layer header included.

    """
    is_tcp = header[12:14] == ETHER_TYPE_IPV4 and header[23] == PROTOCOL_TCP
    if length <= FULL_FRAME_BYTES or not is_tcp:
        return 1, length
    tcp_at = ETHERNET_BYTES + (header[14] & 0xF) * 4
    headers = tcp_at + (header[tcp_at + 12] >> 4) * 4
    count = -(-(length - headers) // (FULL_FRAME_BYTES - headers))
    return count, length + (count - 1) * headers


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the nearest rank: the least value that so many percent of them do not exceed."""
    return sorted(values)[-(-len(values) * percent // 100) - 1]


def _judge_rate(measurement: Measurement, frames: Sequence[law.Frame], warm_up_s: float) -> None:
    start_ns = frames[0][0] + int(warm_up_s * law.NS_PER_SECOND)
    # What still waits when the senders stop leaves at the rate, too; but the end of a TCP flow
    # that is cut off is not the steady state.
    end_ns = frames[0][0] + int(measurement.seconds * law.NS_PER_SECOND)
    steady = [frame for frame in law.since(frames, start_ns) if frame[0] <= end_ns]
    if len(steady) < MIN_FRAMES:
        return
    rate_bits = measurement.rate_bits
    fitted = law.fitted_rate_bits(steady)
    measurement.error_percent = 100 * (fitted - rate_bits) / rate_bits
    measurement.ends_error_percent = law.error_percent(law.rate_bits(steady), rate_bits)


def _judge_bursts(measurement: Measurement, frames: Sequence[law.Frame]) -> None:
    rate_bits = measurement.rate_bits
    measurement.burst_bytes = law.burst_bytes(frames, rate_bits)
    length_ns = law.stretch_ns(frames, rate_bits)
    bursts = law.stretch_bursts(frames, rate_bits, length_ns)
    measurement.stretches = len(bursts)
    measurement.stretch_ms = length_ns / NS_PER_MS
    if len(bursts) >= MIN_STRETCHES:
        measurement.typical_burst_bytes = percentile(bursts, 50)
        measurement.high_burst_bytes = percentile(bursts, 90)


def judge_counters(measurement: Measurement, risen: Counters, seconds: float) -> None:
    """Fill in what the receiving interface counted in the steady state."""
    payload = risen.received_bytes - UDP_OVERHEAD_BYTES * risen.frames
    measurement.goodput_bits = payload * 8 / seconds
    if measurement.is_wire:
        measurement.frames_per_second = risen.frames / seconds


def judge_streams(measurement: Measurement, streams: Sequence[ReceivedStream]) -> None:
    """Fill in what the receiver of TCP counted."""
    if not streams:
        return
    measurement.goodput_bits = goodput_bits(streams)
    first_ns = min((s.first_ns for s in streams if s.first_ns), default=0)
    last_ns = max(s.last_ns for s in streams)
    if last_ns > first_ns:
        scale = 8 * law.NS_PER_SECOND / (last_ns - first_ns)
        measurement.flow_bits = [stream.payload_bytes * scale for stream in streams]


def judge_echoes(measurement: Measurement, echoes: Echoes | None) -> None:
    """Fill in the round trips."""
    if echoes is None:
        return
    measurement.lost_pings = echoes.lost
    measurement.round_trips_us = [round(each / 1000, 1) for each in echoes.round_trips_ns]
    if times_us := measurement.round_trips_us:
        measurement.ping_p10_us = percentile(times_us, 10)
        measurement.ping_p50_us = percentile(times_us, 50)
        measurement.ping_p99_us = percentile(times_us, 99)


def judge_cost(measurement: Measurement, spent: Spent, own_s: dict[str, float]) -> None:
    """Fill in what it cost; only where the machine did nothing else.

    Time that was stolen from a processor that should have woken up is counted as idle, too. So
    where much was stolen, what was used is not known.
    """
    if spent.steal_percent > MAX_STEAL_PERCENT:
        return
    measurement.machine_cpu_s = spent.machine_s
    measurement.process_cpu_s = {**spent.processes_s, **own_s}
    if measurement.goodput_bits and measurement.traffic != IDLE.name:
        gigabytes = measurement.goodput_bits * spent.seconds / 8e9
        measurement.cpu_s_per_gb = spent.machine_s / gigabytes

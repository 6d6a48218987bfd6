"""The bottleneck: what leaves the discipline arrives, and is acknowledged a round trip later."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from shaper.desired.plan import make_settings
from shaper.model import Options, Settings
from tests.unit.gates import SteppedGate
from tests.unit.simulation.senders import Source
from tests.unit.simulation.stamped_frames import SentFrame, read_frame

MTU = 1500


class Arrival(NamedTuple):
    """A frame at the receiver."""

    flow: int
    now: int  # jiffies
    waited: int  # jiffies
    wire_bytes: int
    is_marked: bool


def settings_for(
    rate_bits: int, *, limit_packets: int = 1000, ticks_per_second: int = 1000
) -> Settings:
    """Return what a discipline of this rate is told, Ethernet below it, by a clock of jiffies."""
    options = Options(rate_bits=rate_bits, limit_packets=limit_packets, hz=ticks_per_second)
    settings = make_settings(options, MTU)
    assert settings is not None
    return replace(settings, ticks_per_second=ticks_per_second)


def simulate(
    discipline: SteppedGate,
    sources: Sequence[Source],
    *,
    jiffies: int,
    first: int = 0,
    warm_up: int = 0,
) -> list[Arrival]:
    """Return what arrives from jiffy `warm_up` on, in order; `first` is where to begin.

    What a simulation before this one had on its way is lost, as by a cable pulled.
    """
    by_flow = {source.flow: source for source in sources}
    acknowledgements: defaultdict[int, list[SentFrame]] = defaultdict(list)
    arrivals = []
    for now in range(first, jiffies):
        for sent in acknowledgements.pop(now, []):
            by_flow[sent.flow].acknowledge(sent, now)
        for source in sources:
            for frame in source.send(now):
                discipline.enqueue(frame, now=now)
        while (frame_out := discipline.dequeue(now=now)) is not None:
            sent = read_frame(frame_out)
            acknowledgements[now + 1 + by_flow[sent.flow].round_trip].append(sent)
            if now >= warm_up:
                waited = now - sent.sent_at
                arrivals.append(
                    Arrival(sent.flow, now, waited, frame_out.wire_bytes, sent.is_marked)
                )
    return arrivals


def shares(arrivals: list[Arrival]) -> dict[int, float]:
    """Return which part of all bytes each flow had."""
    total: defaultdict[int, int] = defaultdict(int)
    for arrival in arrivals:
        total[arrival.flow] += arrival.wire_bytes
    everything = sum(total.values())
    return {flow: wire_bytes / everything for flow, wire_bytes in total.items()}

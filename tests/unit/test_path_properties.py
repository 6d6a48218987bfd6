"""What holds of a path whatever happens to it: no frame is lost unseen, and the law is kept."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from shaper.forwarder.ports import Measure, Outcome
from shaper.forwarder.slots import Slots
from shaper.model import Options, Queue
from shaper.packet.frame import measure, parse_all
from tests.unit.path_history import (
    KINDS,
    SECOND_NS,
    SINGLES,
    ArrivingFrames,
    Fakes,
    HistoryRig,
    Refuse,
    SettingChange,
    Sockets,
    Wait,
    numbers,
    pair,
)

RATES_BITS = (64_000, 10**6, 10**8, 10**9, 10**10)
QUEUES = (Queue.FIFO, Queue.FQ_CODEL)
REFUSALS = (Outcome.OVERSIZE, Outcome.NOBUFS, Outcome.GONE, Outcome.ERROR, Outcome.BLOCKED)

arrivals = st.builds(
    ArrivingFrames,
    st.sampled_from((*SINGLES, *KINDS)),
    st.one_of(st.integers(1, 5), st.integers(1, 150)),
    st.integers(0, 1400),
)
waits = st.builds(
    Wait, st.one_of(st.integers(0, 100_000), st.integers(0, 3_000_000), st.just(SECOND_NS))
)
refusals = st.builds(Refuse, st.sampled_from(REFUSALS), st.integers(0, 100))
changes = st.one_of(
    st.builds(SettingChange, st.sampled_from(RATES_BITS)),
    st.builds(SettingChange, queue=st.sampled_from(QUEUES)),
)
verbs = st.sampled_from(("flush", "bind", "unbind", "absorb", "run"))
events = st.one_of(arrivals, arrivals, waits, waits, refusals, changes, verbs)
fair_events = st.one_of(arrivals, arrivals, waits, changes)
histories = st.lists(events, min_size=8, max_size=60)
fair_histories = st.lists(fair_events, min_size=8, max_size=60)
shapers = st.builds(
    Options,
    rate_bits=st.sampled_from(RATES_BITS),
    queue=st.sampled_from(QUEUES),
    limit_packets=st.sampled_from((None, 8, 100_000)),
    hz=st.sampled_from((10, 100, 1000, 100_000)),
)


@settings(max_examples=200, deadline=None)
@given(shapers, histories)
def test_every_frame_leaves_or_is_counted(options: Options, history: list[object]) -> None:
    """At any time what came has left, waits, or is lost under a reason; in the end none waits."""
    ends = Fakes()
    rig = HistoryRig(options, ends)
    for event in history:
        rig.happen(event)
        in_tap = sum(measure(data)[1] for data in ends.source.frames)
        assert rig.count("sent_packets") == rig.left_packets
        assert rig.offered_packets == (
            rig.left_packets + rig.lost_packets + rig.count("backlog_packets") + in_tap
        )
    rig.finish()
    assert not ends.source.frames
    assert rig.offered_packets == rig.left_packets + rig.lost_packets


@settings(max_examples=200, deadline=None)
@given(shapers, histories)
def test_a_fifo_keeps_the_order(options: Options, history: list[object]) -> None:
    """What leaves does so in the order in which it came, and once, by whichever way."""
    rig = HistoryRig(replace(options, queue=Queue.FIFO), Fakes())
    for event in history:
        if not isinstance(event, SettingChange) or event.queue is None:
            rig.happen(event)
    rig.finish()
    assert numbers(rig) == sorted(set(numbers(rig)))


@settings(max_examples=200, deadline=None)
@given(shapers, fair_histories)
def test_the_law_holds_for_what_leaves(options: Options, history: list[object]) -> None:
    """In no window more leaves than the bucket and what the rate earned in it.

    Through pauses, the short way and the queue, and changes of both rate and queue.
    """
    rig = HistoryRig(options, Fakes())
    for event in history:
        rig.happen(event)
    rig.happen(Wait(SECOND_NS))
    assert rig.excess_bits() <= 8 * rig.burst_bytes


@settings(max_examples=100, deadline=None)
@given(shapers, histories)
@example(
    Options(rate_bits=64000, queue=Queue.FIFO, limit_packets=8, hz=10),
    [
        SettingChange(64000),
        ArrivingFrames("ipv4", 26, 0),
        Wait(0),
        SettingChange(64000),
        "absorb",
        Wait(0),
        Wait(0),
        ArrivingFrames("ipv4", 1, 0),
    ],
)
def test_the_real_edges_lose_nothing_either(options: Options, history: list[object]) -> None:
    """Frames that the slots hold, that were read ahead or are too large: all leave or count.

    And through a fifo they leave in order.
    """
    with contextlib.closing(Sockets()) as ends:
        rig = HistoryRig(options, ends)
        with contextlib.closing(rig.path):
            has_order = options.queue is Queue.FIFO
            for event in history:
                has_order &= not isinstance(event, SettingChange) or event.queue in (
                    None,
                    Queue.FIFO,
                )
                rig.happen(event)
            rig.finish()
            assert not ends.is_readable()
    assert rig.offered_packets == rig.left_packets + rig.lost_packets
    assert len(numbers(rig)) == len(set(numbers(rig)))
    assert not has_order or numbers(rig) == sorted(numbers(rig))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(QUEUES), st.integers(2, 150), st.integers(1, 150), st.booleans())
def test_what_is_read_ahead_is_not_overtaken(
    queue: Queue, ahead: int, later: int, was_busy: bool
) -> None:
    """A ring that is read empty on an idle path waits for no further frame, and leaves first."""
    with contextlib.closing(Sockets()) as ends:
        rig = HistoryRig(Options(rate_bits=10**9, queue=queue, limit_packets=1000), ends)
        with contextlib.closing(rig.path):
            rig.happen(Wait(SECOND_NS))
            if was_busy:
                rig.happen(ArrivingFrames("ipv4"))
                rig.happen("run")
            rig.happen(ArrivingFrames("ipv4", ahead))
            rig.happen("absorb")
            rig.happen(Wait(SECOND_NS))
            assert len(numbers(rig)) == was_busy + ahead
            rig.happen(ArrivingFrames("ipv4", ahead))
            rig.happen("absorb")
            rig.happen(ArrivingFrames("ipv4", later))
            rig.happen(Wait(SECOND_NS))
    assert numbers(rig) == list(range(was_busy + 2 * ahead + later))


@settings(max_examples=100, deadline=None)
@given(shapers, st.lists(st.tuples(waits, arrivals), min_size=1, max_size=4))
def test_a_pause_saves_no_burst(
    options: Options, bursts: list[tuple[Wait, ArrivingFrames]]
) -> None:
    """However long a path was idle, what follows is a frame and what two steps of the clock earn.

    The rest of the bucket is for wake-ups that are late, and here none is.
    """
    rig = HistoryRig(options, Fakes())
    for pause, burst in bursts:
        rig.happen(Wait(SECOND_NS))
        rig.happen(pause)
        rig.happen(burst)
    rig.happen(Wait(SECOND_NS))
    assert rig.excess_bits() <= 8 * rig.pause_bytes


@st.composite
def malformed(draw: st.DrawFn) -> bytes:
    """Draw what nobody should send: any virtio-net header, any bytes behind any type."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    data = bytearray(KINDS[kind][:60]) + draw(st.binary(max_size=200))
    for position in draw(st.lists(st.integers(0, 59), max_size=8)):
        data[position : position + 1] = draw(st.binary(min_size=1, max_size=1))
    del data[max(24, draw(st.integers(24, 400))) :]
    data[1] = draw(st.sampled_from((0, 1, 3, 4, 5, 0x81, 0xFF)))
    return bytes(data)


@settings(max_examples=300, deadline=None)
@given(st.lists(malformed(), min_size=1, max_size=8))
def test_malformed_frames_measure_the_same_by_either_way(frames: list[bytes]) -> None:
    """What the slots say of a batch is what its frames would count as in the queue."""
    ours, theirs = pair()
    with ours, theirs:
        slots = Slots()
        for data in frames:
            ours.send(data)
        slots.fill(theirs.fileno(), len(frames))
    for removed in (0, 14):
        parsed, neighbours = parse_all(frames, removed)
        size = slots.measure(removed)
        assert (size is None) == bool(neighbours)
        if size is not None:
            wire = [frame.wire_bytes for frame in parsed]
            packets = sum(frame.packets for frame in parsed)
            assert size == Measure(packets, sum(wire), wire[-1], max(wire))

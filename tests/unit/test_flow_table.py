"""Places for flows, and the largest of them without looking at all."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from shaper.discipline.codel import Law, Setpoints
from shaper.discipline.flow_table import UNRANKED, FlowQueue, FlowTable, Ranking
from shaper.packet.frame import Frame

LAW = Law(Setpoints(5, 100, 1514), lambda _: None, lambda _: None)


def fill(flow: FlowQueue, wire_bytes: int) -> None:
    """Put a frame into a flow and the flow into the round."""
    if not flow.is_listed:
        flow.is_new = True
        flow.ranked_bytes = UNRANKED
    flow.frames.append((Frame(b"", wire_bytes, 1), 0))
    flow.backlog_bytes += wire_bytes


def find(table: FlowTable, name: str, listed: int = 0) -> FlowQueue:
    """Return the flow of an identity."""
    identity = name.encode()
    return table.get(identity) or table.add(identity, listed)


def test_a_flow_has_a_place_of_its_own_while_there_is_room() -> None:
    """The same identity finds the same flow, another one another."""
    table = FlowTable(LAW, size=4, key=b"")
    flows = [find(table, name) for name in "abcd"]
    assert len(set(flows)) == len(table) == 4
    assert [find(table, name) for name in "abcd"] == flows


def test_places_that_wait_for_nothing_are_cleared_all_at_once() -> None:
    """When the table is full and half of it idle, the idle go and the others stay."""
    table = FlowTable(LAW, size=4, key=b"")
    flows = {name: find(table, name) for name in "abcd"}
    fill(flows["a"], 100)
    found = find(table, "e", listed=1)
    assert len(table) == 2
    assert find(table, "a") is flows["a"]
    assert find(table, "e") is found


def test_a_full_table_shares_no_more_places_than_it_has() -> None:
    """However many flows come, there are twice `size` at most."""
    table = FlowTable(LAW, size=4, key=b"")
    for number in range(100):
        fill(find(table, str(number), listed=len(table)), 100)
    assert 5 <= len(table) <= 8


def test_a_flow_stays_where_it_waits() -> None:
    """Its frames in a shared place leave before a place of its own that has become free."""
    table = FlowTable(LAW, size=2, key=b"")
    own = [find(table, name) for name in "ab"]
    for flow in own:
        fill(flow, 100)
    shared = find(table, "c", listed=2)
    fill(shared, 100)
    for flow in own:
        flow.drop_heads(1, 0)
        flow.is_new = False
    assert find(table, "c", listed=1) is shared
    shared.drop_heads(1, 0)
    shared.is_new = False
    assert find(table, "c", listed=0) is not shared


@given(seed=st.integers(0, 2**32))
def test_the_largest_is_the_largest(seed: int) -> None:
    """As flows grow, shrink, leave the round and come back: found by the heap and by looking."""
    chance = random.Random(seed)
    flows = [FlowQueue(LAW, serial) for serial in range(chance.choice([1, 5, 40]))]
    for flow in flows:
        fill(flow, chance.randrange(1514))
    ranking = Ranking(lambda: [flow for flow in flows if flow.is_listed])
    for _ in range(200):
        flow = chance.choice(flows)
        if chance.random() < 0.5:
            fill(flow, chance.choice([0, 60, 1514]))
            ranking.grew(flow)
        elif flow.frames:
            flow.drop_heads(1, 0)
            flow.is_new = bool(flow.frames) or chance.random() < 0.5
        if any(flow.frames for flow in flows):
            largest = ranking.largest()
            assert largest.frames
            assert largest.backlog_bytes == max(flow.backlog_bytes for flow in flows)


def test_a_ranking_that_is_never_asked_stays_small() -> None:
    """Flows that grow and shrink a thousand times do not fill it with what they once were."""
    flows = [FlowQueue(LAW, serial) for serial in range(10)]
    for flow in flows:
        fill(flow, 100)
    ranking = Ranking(lambda: flows)
    for count in range(10_000):
        flow = flows[count % 10]
        fill(flow, 100)
        ranking.grew(flow)
        if count % 7:
            flow.drop_heads(1, 0)
            flow.ranked_bytes = UNRANKED  # as when it leaves the round and comes back
    assert len(ranking) <= 2 * len(flows) + 64

"""What is shown follows from spec, plan and counters, with every loss under its own name."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from asyncvarlink.conversion import VarlinkType

from shaper.channel.board import DROP_REASONS, FIELDS
from shaper.control.interface import ShaperObject
from shaper.desired.findings import Finding, Severity
from shaper.desired.plan import make_plan
from shaper.model import Options, Queue, Spec, State
from shaper.supervisor.absent import Absent
from shaper.supervisor.shaper_object import (
    absent_object,
    may_lack_route,
    route_warning,
    shaper_object,
)
from tests.unit.machine_rig import ETH1, SPEC

OWN = replace(ETH1, ifindex=3, ifname="shaper0", mtu=1400, operstate="LOWERLAYERDOWN")
FOUND = Finding("some-id", Severity.WARNING, "a warning", "mend it")
NOTHING = dict.fromkeys(FIELDS, 0)


def shown(spec: Spec = SPEC, ring_drops: int = 0, **counters: int) -> ShaperObject:
    """Return what is shown of a shaper on eth1 with these counters."""
    plan = make_plan(spec, OWN, ETH1)
    counts = {**NOTHING, **counters}
    return shaper_object(
        spec, plan, OWN, spec.master, counts, ring_drops=ring_drops, findings=[FOUND]
    )


def test_the_device_is_shown_as_it_is() -> None:
    """Index, MTU and operational state are the kernel's; name and master are the spec's."""
    told = shown()
    assert (told["ifname"], told["link"], told["state"]) == ("shaper0", "eth1", "active")
    assert (told["ifindex"], told["mtu"], told["operstate"]) == (3, 1400, "LOWERLAYERDOWN")
    assert told["warnings"] == ["a warning (mend it)"]
    assert [each["id"] for each in told["findings"]] == ["some-id"]


@pytest.mark.parametrize(
    ("busy_bytes", "busy_ns", "achieved_bits"),
    [
        (8000, 10**9, 64_000),
        (8000, 3 * 10**9, 21_333),
        (0, 10**9, 0),
        (0, 0, None),
        (125 * 10**16, 10**12, 10**16),
    ],
)
def test_achieved_is_the_rate_while_busy(
    busy_bytes: int, busy_ns: int, achieved_bits: int | None
) -> None:
    """Bits a second over the time in which frames waited; None while none ever has."""
    told = shown(busy_bytes=busy_bytes, busy_ns=busy_ns)
    assert told["stats"]["achieved_bits"] == achieved_bits


@pytest.mark.parametrize("reason", DROP_REASONS)
def test_every_loss_is_shown(reason: str) -> None:
    """Each reason is there under its own name, and what is dropped for it is in no other."""
    dropped = shown(**{reason: 7})["stats"]["dropped"]
    assert dropped == {**dict.fromkeys((*DROP_REASONS, "ring"), 0), reason: 7}


def test_what_the_kernel_dropped_is_shown_with_the_rest() -> None:
    """The losses of the TAP's ring are the kernel's to count."""
    assert shown(ring_drops=5)["stats"]["dropped"]["ring"] == 5


@pytest.mark.parametrize(
    "field",
    ["sent_bytes", "sent_packets", "overlimits", "backlog_bytes", "backlog_packets"],
)
def test_counters_are_passed_on(field: str) -> None:
    """What the forwarder counted is told under the name it has on the board."""
    assert shown(**{field: 12345})["stats"][field] == 12345  # type: ignore[literal-required]


@pytest.mark.parametrize(
    ("queue", "delay_ns"), [(Queue.FQ_CODEL, 5), (Queue.FIFO, 5), (Queue.CLASSIC, None)]
)
def test_delays_are_told_where_they_are_measured(queue: Queue, delay_ns: int | None) -> None:
    """Of a queue that measures no delay none is told, not even 0."""
    spec = replace(SPEC, options=replace(SPEC.options, queue=queue))
    stats = shown(spec, delay_ns=5, delay_p99_ns=5)["stats"]
    assert stats["delay_ns"] == stats["delay_p99_ns"] == delay_ns


def test_the_settings_in_force_are_shown() -> None:
    """Defaults are filled in where there is a speed; what was set is shown without one too."""
    options = shown()["options"]
    assert (options["burst_bytes"], options["limit_packets"]) == (3028, 10)
    silent = shown(replace(SPEC, options=Options(limit_packets=30)))["options"]
    assert (silent["rate_bits"], silent["burst_bytes"], silent["limit_packets"]) == (0, 0, 30)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("sent_packets", [0, 1])
def test_a_missing_route_matters_to_what_could_pass_traffic(
    state: State, sent_packets: int
) -> None:
    """Only an active shaper that never sent is asked about; others have a more pressing want."""
    what = shown(sent_packets=sent_packets)
    what["state"] = state
    assert may_lack_route(what) == (state is State.ACTIVE and sent_packets == 0)
    assert "dev shaper0" in route_warning("shaper0")


@pytest.mark.parametrize("queue", Queue)
def test_what_is_shown_is_what_its_type_says(queue: Queue) -> None:
    """As plain values, with a line or without: of a thousand shapers the first is looked at."""
    options = replace(SPEC.options, queue=queue)
    absent = absent_object(Absent(SPEC, State.AWAY, "shaper0 is away"))
    for told in (shown(replace(SPEC, options=options), busy_ns=10**9), absent):
        converted = VarlinkType.from_type_annotation(ShaperObject).tojson(told)
        assert json.loads(json.dumps(told)) == converted

"""How traffic comes to shapers: what is understood, refused, kept and written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shaper.desired import captures, config, document, store
from shaper.errors import Busy, InvalidValue
from shaper.kernel.clsact import FIRST_PRIORITY
from shaper.model import Capture, Group, Options, Spec

SPEC = Spec("shaper0", "eth1", Options(rate_bits=10_000_000))
EGRESS = replace(SPEC, capture=Capture.EGRESS)
GROUP = replace(SPEC, capture=Capture.CGROUP, cgroup="backup.service")


@pytest.mark.parametrize(
    ("capture", "cgroup", "wanted"),
    [
        (None, None, SPEC),
        ("route", None, SPEC),
        ("egress", None, EGRESS),
        ("ingress", None, replace(SPEC, capture=Capture.INGRESS)),
        ("cgroup", "backup.service", GROUP),
        ("cgroup", "/sys/fs/cgroup/a/b/", replace(GROUP, cgroup="a/b")),
        ("cgroup", "/sys/fs/cgroup/unified/a", replace(GROUP, cgroup="a")),
    ],
)
def test_modes_are_understood(capture: str | None, cgroup: str | None, wanted: Spec) -> None:
    """With the group that a mode asks for, by its path below the mount."""
    assert captures.with_capture(SPEC, capture, cgroup) == wanted


@pytest.mark.parametrize(
    ("capture", "cgroup", "words"),
    [
        ("sideways", None, "'sideways' is unknown"),
        ("cgroup", None, "needs a group"),
        ("cgroup", "", "needs a group"),
        ("egress", "a", "'a' goes with capture cgroup"),
        (None, "a", "'a' goes with capture cgroup"),
        ("cgroup", 7, "7 is no text"),
        (7, None, "7 is unknown"),
    ],
)
def test_what_makes_no_sense_is_refused(capture: Any, cgroup: Any, words: str) -> None:
    """By name, before anything is done."""
    with pytest.raises(InvalidValue, match=words):
        captures.with_capture(SPEC, capture, cgroup)


def test_a_mode_needs_a_master() -> None:
    """There is nothing else to take from."""
    with pytest.raises(InvalidValue, match="needs a master"):
        captures.with_capture(replace(SPEC, master=None), "egress", None)


@pytest.mark.parametrize("spec", [EGRESS, GROUP])
def test_the_same_traffic_is_taken_once(spec: Spec) -> None:
    """By another shaper it is refused; for the shaper itself it is no second time."""
    other = replace(spec, ifname="shaper1")
    with pytest.raises(Busy, match=r"shaper0 takes the .* of eth1 already"):
        captures.refuse_second(other, [spec])
    captures.refuse_second(spec, [spec])
    captures.refuse_second(replace(other, master="eth2"), [spec])
    captures.refuse_second(replace(SPEC, ifname="shaper1"), [SPEC, spec])


def test_a_group_is_the_same_however_it_is_written() -> None:
    """With a slash before it, too."""
    other = replace(GROUP, ifname="shaper1", cgroup="/backup.service")
    with pytest.raises(Busy):
        captures.refuse_second(other, [GROUP])


TABLE = '[device.{}]\nmaster = "eth1"\nspeed = "10mbit"\ncapture = "{}"\n'


def test_a_file_that_takes_the_same_twice_is_refused() -> None:
    """Naming both devices."""
    text = TABLE.format("shaper0", "egress") + TABLE.format("shaper1", "egress")
    with pytest.raises(InvalidValue, match=r"device.shaper1: shaper0 takes the egress of eth1"):
        config.parse_config(text)


def test_a_file_names_the_table_of_a_bad_mode() -> None:
    """And the value."""
    with pytest.raises(InvalidValue, match=r"device.shaper0: capture 'down' is unknown"):
        config.parse_config(TABLE.format("shaper0", "down"))


@pytest.mark.parametrize("spec", [SPEC, EGRESS, GROUP])
def test_it_is_kept_and_written(spec: Spec) -> None:
    """The state file and the configuration give back what they were given."""
    assert store.decode(store.encode([spec])) == [spec]
    (read,) = config.parse_config(document.write_config([spec])).devices
    assert (read.capture, read.cgroup) == (spec.capture, spec.cgroup)


def test_limits_nest_from_the_inside() -> None:
    """A group comes before the one it is in; one not there yet after these, `egress` last."""
    inner, outer = Group("/c/a/b", 2), Group("/c/a", 1)
    order = [
        captures.rank(Capture.CGROUP, inner),
        captures.rank(Capture.CGROUP, outer),
        captures.rank(Capture.CGROUP, None),
        captures.rank(Capture.EGRESS, None),
    ]
    assert order == sorted(set(order))
    assert captures.rank(Capture.CGROUP, None, order[0]) == order[0]
    assert captures.rank(Capture.CGROUP, None, order[-1]) < order[-1]
    assert captures.rank(Capture.CGROUP, Group("/a" * 99, 9)) + FIRST_PRIORITY > 0

"""What `show` prints, to the letter."""

from __future__ import annotations

import json
import time

import pytest

from shapecfg import render
from tests.unit.fake_daemon import SHAPER, shaper


def described(
    *, is_detailed: bool = False, has_statistics: bool = False, **changes: object
) -> str:
    """Return the text of the usual shaper with some of its keys changed."""
    return render.describe(
        shaper(**changes), is_detailed=is_detailed, has_statistics=has_statistics
    )


def test_summary_is_one_line() -> None:
    """The line of the manual."""
    assert described() == (
        "shaper0@eth1: <UP> rate 64Kbit burst 1514b queue fifo limit 10p hz 1000 state active"
    )


def test_detached_shaper_has_no_master_and_no_rate() -> None:
    """What is not set is said so, and not printed as null or 0bit."""
    text = described(
        link=None, state="detached", operstate="DOWN", options={"rate_bits": 0, "queue": "classic"}
    )
    assert text == (
        "shaper0: <DOWN> rate none burst 1514b queue classic limit 10p hz 1000 state detached"
    )


def test_shaper_without_a_rate_has_no_numbers_yet() -> None:
    """Bucket and limit follow from the rate, so until one is set they are not shown as 0."""
    options = {"rate_bits": 0, "burst_bytes": 0, "limit_packets": 0}
    assert described(state="no-speed", options=options, is_detailed=True) == (
        "shaper0@eth1: <UP> rate none burst default queue fifo limit default hz 1000"
        " state no-speed\n    ifindex 7 mtu 1500"
    )


def test_statistics_follow_the_summary() -> None:
    """The lines of the manual; every reason that lost a frame is named, and no other."""
    assert described(has_statistics=True) == (
        "shaper0@eth1: <UP> rate 64Kbit burst 1514b queue fifo limit 10p hz 1000 state active\n"
        "    sent 123456 bytes 98 pkts (dropped 3, overlimits 41) backlog 3028b 2p\n"
        "    dropped for: full 3\n"
        "    achieved 63.99Kbit while busy (99.98%)"
    )


def test_bursts_and_delays_are_told_of_each_window() -> None:
    """Of the last ten seconds, of the worst second of the hour, and since the speed was set."""
    since = int(time.time())
    clock = time.strftime("%H:%M", time.localtime(since))
    stats = {
        "delay_ns": 1_000_000,
        "delay_p99_ns": 5_000_000,
        "lately_bits": 64_000,
        "worst_bits": 63_360,
        "achieved_since": since,
        "lately_burst_bytes": 1514,
        "worst_burst_bytes": 3028,
        "total_burst_bytes": 4542,
        "worst_delay_p99_ns": 7_000_000,
        "total_delay_p99_ns": 9_000_000,
    }
    assert described(has_statistics=True, stats=stats).splitlines()[3:] == [
        f"    delay 1.0ms p99 5.0ms, at worst 9.0ms since {clock}",
        f"    achieved 64.00Kbit while busy (100.00%) in the last 10s, 99.98% since {clock}",
        f"    largest burst 1514b in the last 10s, 4542b since {clock}",
        "    worst second of the last hour 63.36Kbit while busy (99.00%), burst 3028b, p99 7.0ms",
    ]


def test_losses_are_added_up_and_named() -> None:
    """The sum is that of all reasons."""
    text = described(has_statistics=True, stats={"dropped": {"full": 3, "detached": 4, "gone": 0}})
    assert "(dropped 7, overlimits 41)" in text
    assert "    dropped for: full 3, detached 4\n" in text


def test_statistics_without_losses_or_work_are_one_line() -> None:
    """A shaper that lost nothing and had nothing to do names no reason and no rate."""
    stats = {"dropped": {"full": 0, "detached": 0}, "achieved_bits": None}
    assert described(has_statistics=True, stats=stats).splitlines()[1:] == [
        "    sent 123456 bytes 98 pkts (dropped 0, overlimits 41) backlog 3028b 2p"
    ]


@pytest.mark.parametrize(
    ("rate_bits", "achieved_bits", "line"),
    [
        (64000, 64000, "achieved 64.00Kbit while busy (100.00%)"),
        (10**7, 9_999_499, "achieved 10.00Mbit while busy (99.99%)"),
        (8, 9, "achieved 9bit while busy (112.50%)"),
        (10**15, 1, "achieved 1bit while busy (0.00%)"),
        (0, 5000, "achieved 5.00Kbit while busy"),
    ],
)
def test_achieved_rate_is_set_against_the_rate(
    rate_bits: int, achieved_bits: int, line: str
) -> None:
    """The share is rounded to the nearest hundredth of a percent; of no rate there is none."""
    text = described(
        has_statistics=True,
        options={"rate_bits": rate_bits},
        stats={"achieved_bits": achieved_bits},
    )
    assert text.splitlines()[-1] == f"    {line}"


def test_detail_gives_what_the_summary_rounds() -> None:
    """With -d the exact rate and burst can be read, and the numbers of the device."""
    text = described(is_detailed=True, options={"rate_bits": 1_234_567, "burst_bytes": 10_239})
    assert text == (
        "shaper0@eth1: <UP> rate 1234Kbit burst 10Kb queue fifo limit 10p hz 1000 state active\n"
        "    ifindex 7 mtu 1500\n"
        "    exactly 1234567bit burst 10239b"
    )


def test_detail_comes_before_the_statistics() -> None:
    """Asked for both, all lines are there and the summary is still the first."""
    text = described(is_detailed=True, has_statistics=True)
    words = [line.split()[0] for line in text.splitlines()]
    assert words == ["shaper0@eth1:", "ifindex", "exactly", "sent", "dropped", "achieved"]


def test_brief_is_columns() -> None:
    """One line: device, state and rate, aligned for the names that are usual."""
    assert render.describe_briefly(shaper()) == "shaper0@eth1         active         64Kbit"
    idle = shaper(link=None, state="detached", options={"rate_bits": 0})
    assert render.describe_briefly(idle) == "shaper0              detached       none"


def test_brief_keeps_long_names_apart() -> None:
    """Two names of fifteen bytes do not run into the state."""
    longest = shaper(ifname="shaper-number-1", link="enp1s0f1np1.100", state="master-missing")
    assert render.describe_briefly(longest).split() == [
        "shaper-number-1@enp1s0f1np1.100",
        "master-missing",
        "64Kbit",
    ]


def test_json_is_an_array_with_the_documented_keys() -> None:
    """Compact on one line, indented if pretty, and the same to a parser."""
    compact = render.to_json([SHAPER], is_pretty=False)
    pretty = render.to_json([SHAPER], is_pretty=True)
    assert json.loads(compact) == json.loads(pretty) == [SHAPER]
    assert compact.startswith('[{"ifname":"shaper0","ifindex":7,"link":"eth1","capture":"route",')
    assert pretty.startswith('[\n    {\n        "ifname": "shaper0",\n')
    assert "\n" not in compact


def test_json_of_no_shaper_is_an_empty_array() -> None:
    """A reader of JSON gets JSON also when there is nothing."""
    assert render.to_json([], is_pretty=False) == render.to_json([], is_pretty=True) == "[]"

"""Rules read as `ip rule` writes them come back the same, and nonsense is named."""

from __future__ import annotations

import pytest

from shaper.desired.ip_rule import format_rule, parse_rule
from shaper.errors import InvalidValue
from shaper.network import RuleAction


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("from 10.0.0.0/8 lookup 7", "from 10.0.0.0/8 lookup 7"),
        ("to 10.0.0.1 table uplink", "from all to 10.0.0.1/32 lookup 9"),
        ("fwmark 0 lookup 7", "from all fwmark 0x0 lookup 7"),
        ("inet6 to all table 4 pref 5", "inet6 priority 5 from all lookup 4"),
        ("from 0.0.0.0/0 lookup 7", "from all lookup 7"),
        ("from all to ::/0 lookup 7", "inet6 from all lookup 7"),
        ("from 2001:db8::/32 prohibit", "from 2001:db8::/32 prohibit"),
        ("not fwmark 0x7/0xff table main", "not from all fwmark 0x7/0xff lookup 254"),
        ("fwmark 7 priority 100 table 7", "priority 100 from all fwmark 0x7 lookup 7"),
        ("uidrange 1000-1000 lookup 9", "from all uidrange 1000-1000 lookup 9"),
        ("ipproto tcp dport 80-90 table 9", "from all ipproto 6 dport 80-90 lookup 9"),
        ("iif lan0 sport 53 oif eth1 table 9", "from all iif lan0 oif eth1 sport 53 lookup 9"),
        (
            "table main suppress_prefixlength 0",
            "from all lookup 254 suppress_prefixlength 0",
        ),
    ],
)
def test_a_rule_is_read_and_written(text: str, written: str) -> None:
    """What is written again is read as the same rule."""
    rule = parse_rule(text, {"uplink": 9})
    assert format_rule(rule) == written
    assert parse_rule(written) == rule


def test_actions() -> None:
    """Each action that needs no table is one word."""
    for action in (RuleAction.BLACKHOLE, RuleAction.UNREACHABLE, RuleAction.PROHIBIT):
        assert parse_rule(f"from all {action}").action is action


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "empty"),
        ("from x lookup 3", "x"),
        ("from 10.0.0.0/8", "which table"),
        ("from 10.0.0.0/8 to ::1 table 3", "mixed"),
        ("inet6 from 10.0.0.0/8 table 3", "mixed"),
        ("fwmark 0x1ffffffff table 3", "32 bits"),
        ("fwmark red table 3", "no number"),
        ("dport 90-80 table 3", "90-80"),
        ("dport 70000 table 3", "70000"),
        ("ipproto frob table 3", "frob"),
        ("uidrange a-b table 3", "a-b"),
        ("tos 3 table 3", "tos"),
        ("from all lookup nonsense", "nonsense"),
        ("from all priority", "missing"),
        ("priority -1 lookup 7", "-1"),
        ("priority 4294967296 lookup 7", "4294967296"),
        ("priority 5 priority 6 lookup 7", "twice"),
        ("lookup 7 unreachable", "twice"),
        ("from 10.0.0.1/24 lookup 7", "host bits"),
        ("from 10.0.0.0/33 lookup 7", "33"),
        ("lookup 4294967296", "4294967296"),
        ("fwmark 7/0 lookup 7", "mask of 0"),
        ("iif averyverylongname lookup 7", "averyverylongname"),
        ("oif a/b lookup 7", "a/b"),
        ("ipproto 256 lookup 7", "256"),
        ("sport 0 lookup 7", "0"),
        ("dport 65535 lookup 7", "65535"),
        ("uidrange 0-4294967295 lookup 7", "4294967295"),
        ("lookup 7 suppress_prefixlength 33", "33"),
        ("inet6 lookup 7 suppress_prefixlength 129", "129"),
    ],
)
def test_a_rule_that_cannot_be_is_named(text: str, named: str) -> None:
    """The sentence holds the line and the value in it that is wrong."""
    with pytest.raises(InvalidValue, match=named) as refused:
        parse_rule(text)
    assert text in str(refused.value)

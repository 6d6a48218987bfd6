"""Routes and addresses read as `ip` writes them come back the same, and nonsense is named."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from shaper.desired.ip_route import format_address, format_route, parse_address, parse_route
from shaper.errors import InvalidValue
from shaper.network import RouteKind

SHAPER = "shaper0"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("10.1.0.0/24", "10.1.0.0/24"),
        ("10.1.0.7", "10.1.0.7/32"),
        ("10.1.0.0/24 dev shaper0 proto static scope link", "10.1.0.0/24"),
        ("default via 10.0.0.100 onlink", "default via 10.0.0.100 onlink"),
        ("default", "default"),
        ("inet6 default", "inet6 default"),
        ("-6 default", "inet6 default"),
        ("default via fe80::1 table 100", "default via fe80::1 table 100"),
        ("10.1.0.0/24 via inet 10.0.0.1 metric 7", "10.1.0.0/24 via 10.0.0.1 metric 7"),
        ("2001:db8::/32 src 2001:db8::1 mtu 1400", "2001:db8::/32 src 2001:db8::1 mtu 1400"),
        ("10.1.0.0/24 table main", "10.1.0.0/24"),
        ("unreachable 10.0.0.0/8 metric 0x10", "unreachable 10.0.0.0/8 metric 16"),
        ("10.1.0.0/24 table uplink", "10.1.0.0/24 table 7"),
        ("10.1.0.0/24 via inet6 fe80::1", "10.1.0.0/24 via inet6 fe80::1"),
        ("inet default via inet6 fe80::1", "inet default via inet6 fe80::1"),
        ("default via inet6 fe80::1", "default via fe80::1"),
        ("10.1.0.0/24 metric 0", "10.1.0.0/24"),
        ("0.0.0.0/0 table 100", "0.0.0.0/0 table 100"),
        ("::/0 src 2001:db8::1", "::/0 src 2001:db8::1"),
        ("unreachable 0.0.0.0/0", "unreachable default"),
        ("2001:db8::/32 metric 0", "2001:db8::/32 metric 1024"),
    ],
)
def test_a_route_is_read_and_written(text: str, written: str) -> None:
    """What is written again is read as the same route."""
    route = parse_route(text, SHAPER, {"uplink": 7})
    assert format_route(route) == written
    assert parse_route(written, SHAPER) == route


def test_a_default_without_a_next_hop_follows_the_master() -> None:
    """And one that names its next hop, or does not lead through the shaper, does not."""
    assert parse_route("default", SHAPER).follows_master
    assert parse_route("0.0.0.0/0", SHAPER).follows_master is False
    assert parse_route("default via 10.0.0.1", SHAPER).follows_master is False
    assert parse_route("unreachable default", SHAPER).follows_master is False
    assert parse_route("unreachable default", SHAPER).kind is RouteKind.UNREACHABLE
    assert parse_route("inet6 default", SHAPER).destination == ip_network("::/0")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "empty"),
        ("bogus", "bogus"),
        ("10.1.0.1/24", "host bits"),
        ("10.0.0.0/8 via", "missing"),
        ("10.0.0.0/8 via 1.2.3", "1.2.3"),
        ("10.0.0.0/8 via ::1", "mixed"),
        ("inet6 10.0.0.0/8", "mixed"),
        ("10.0.0.0/8 src ::1", "mixed"),
        ("10.0.0.0/8 metric -1", "-1"),
        ("10.0.0.0/8 metric many", "many"),
        ("10.0.0.0/8 metric 4294967296", "4294967296"),
        ("10.0.0.0/8 table nonsense", "nonsense"),
        ("10.0.0.0/8 table 0", "0"),
        ("10.0.0.0/8 dev eth1", "eth1"),
        ("10.0.0.0/8 mtu 12", "12"),
        ("10.0.0.0/8 frob 3", "frob"),
        ("10.0.0.0/8 onlink", "onlink"),
        ("unreachable 10.0.0.0/8 via 10.0.0.1", "next hop"),
        ("224.0.0.0/4", "multicast"),
        ("224.0.0.1/4", "host bits"),
        ("10.0.0.0/33", "33"),
        ("10.0.0.0/8 via 224.0.0.1", "multicast"),
        ("10.0.0.0/8 via 255.255.255.255", "broadcast"),
        ("10.0.0.0/8 via 0.0.0.0", "unspecified"),
        ("10.0.0.0/8 via 127.0.0.1 onlink", "loopback"),
        ("fd09::/64 via ff02::1", "multicast"),
        ("fd09::/64 via ::", "unspecified"),
        ("fd09::/64 via ::1", "loopback"),
        ("10.0.0.0/8 via inet6 10.0.0.1", "inet6"),
        ("fd09::/64 via inet 10.0.0.1", "mixed"),
        ("10.0.0.0/8 src 224.0.0.1", "multicast"),
        ("10.0.0.0/8 src 0.0.0.0", "unspecified"),
        ("10.0.0.0/8 via 10.1.0.1 via 10.1.0.2", "twice"),
        ("10.0.0.0/8 metric 1 metric 2", "twice"),
        ("10.0.0.0/8 table 4294967296", "4294967296"),
        ("10.0.0.0/8 mtu 65521", "65521"),
        ("10.0.0.0/8 scope frob", "frob"),
        ("10.0.0.0/8 proto 300", "300"),
        ("unreachable 10.0.0.0/8 dev shaper0", "device"),
    ],
)
def test_a_route_that_cannot_be_is_named(text: str, named: str) -> None:
    """The sentence holds the line and the value in it that is wrong."""
    with pytest.raises(InvalidValue, match=named) as refused:
        parse_route(text, SHAPER)
    assert text in str(refused.value)


def test_addresses() -> None:
    """With a prefix length or without, and nothing that is no address."""
    assert format_address(parse_address("10.0.0.5/28")) == "10.0.0.5/28"
    assert format_address(parse_address("2001:db8::5")) == "2001:db8::5/128"
    bad = ("10.0.0.5/33", "10.0.0", "", "eth1", "0.0.0.0/24", "224.0.0.1/24", "255.255.255.255")
    for text in (*bad, "fd00::1/129", "::/64", "::1/128", "ff02::1/64"):
        with pytest.raises(InvalidValue, match="address"):
            parse_address(text)

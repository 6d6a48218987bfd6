"""Requests that are written by hand are those that pyroute2 writes, byte for byte of meaning."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.ndtmsg import ndtmsg

from shaper.kernel.netlink import filled
from shaper.kernel.requests import (
    address_request,
    addresses_request,
    link_request,
    neighbour_table_request,
    neighbours_request,
)

HEADER_BYTES = 16


def body(request: Any) -> bytes:
    """Return what pyroute2 sends, without the message's header."""
    request.encode()
    return bytes(request.data)[HEADER_BYTES:]


def inet6(mode: int) -> dict[str, Any]:
    """Return how pyroute2 is told of the mode of address generation."""
    return {"attrs": [("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", mode)]})]}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        ({"mtu": 1500}, {"mtu": 1500}),
        ({"txqlen": 1000}, {"txqlen": 1000}),
        ({"group": 1 << 30}, {"group": 1 << 30}),
        ({"gso_max_size": 2048}, {"gso_max_size": 2048}),
        ({"ifalias": "shaper of eth1"}, {"ifalias": "shaper of eth1"}),
        ({"ifalias": "Stra\u00dfe"}, {"ifalias": "Stra\u00dfe"}),
        ({"address": bytes.fromhex("020000000003")}, {"address": "02:00:00:00:00:03"}),
        ({"addr_gen_mode": 1}, {"IFLA_AF_SPEC": inet6(1)}),
        ({"flags": 0x80, "change": 0x80}, {"flags": 0x80, "change": 0x80}),
        ({"addr_gen_mode": 1, "ifalias": "a"}, {"IFLA_AF_SPEC": inet6(1), "ifalias": "a"}),
    ],
)
def test_a_link_is_set_as_pyroute2_would(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Each attribute that is set of a shaper's device, and several at once."""
    assert link_request(7, **ours) == body(filled(ifinfmsg(), index=7, **theirs))


def test_addresses_are_asked_for_as_pyroute2_would() -> None:
    """Those of one device and family, which the kernel then filters."""
    expected = body(filled(ifaddrmsg(), family=socket.AF_INET6, index=7))
    assert addresses_request(socket.AF_INET6, 7) == expected


@pytest.mark.parametrize(
    ("family", "table"), [(socket.AF_INET, "arp_cache"), (socket.AF_INET6, "ndisc_cache")]
)
def test_a_neighbour_table_is_set_as_pyroute2_would(family: int, table: str) -> None:
    """The parameters of one device, in the table of its family."""
    names = ("NDTPA_APP_PROBES", "NDTPA_UCAST_PROBES", "NDTPA_MCAST_PROBES")
    parameters = [("NDTPA_IFINDEX", 7), *zip(names, (3, 0, 1), strict=True)]
    expected = filled(ndtmsg(), family=family, NDTA_NAME=table, NDTA_PARMS={"attrs": parameters})
    ours = neighbour_table_request(family, 7, app_probes=3, ucast_probes=0, mcast_probes=1)
    assert ours == body(expected)


def test_neighbours_are_asked_for_as_pyroute2_would() -> None:
    """Those of one device, which the kernel then filters, or all."""
    assert neighbours_request(7) == body(filled(ndmsg(), NDA_IFINDEX=7))
    assert neighbours_request(None) == body(ndmsg())


def test_an_attribute_that_is_not_known_is_no_silence() -> None:
    """What could not be written is refused, and not left out."""
    with pytest.raises(KeyError):
        link_request(7, numtxqueues=4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.7", {"IFA_ADDRESS": "10.0.0.7", "IFA_LOCAL": "10.0.0.7"}),
        ("fd00::7", {"IFA_ADDRESS": "fd00::7"}),
    ],
)
def test_an_address_is_set_as_pyroute2_would(text: str, expected: dict[str, str]) -> None:
    """With flags, and removed without; the protocol, which some of its versions lack, is last."""
    version = socket.AF_INET6 if ":" in text else socket.AF_INET
    fields = {"family": version, "index": 7, "prefixlen": 24, **expected}
    assert address_request(7, text, 24) == body(filled(ifaddrmsg(), **fields))
    expected_body = body(filled(ifaddrmsg(), **fields, IFA_FLAGS=0x202))
    ours = address_request(7, text, 24, flags=0x202, protocol=171)
    assert ours == expected_body + bytes.fromhex("05000b00ab000000")

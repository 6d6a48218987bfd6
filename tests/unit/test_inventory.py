"""What is saved of a shaper: what was declared as it was, and what somebody added."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

from shaper.desired.declared import MasterNetwork, NextHop, parse_network, presence
from shaper.desired.inventory import Seen, inventory
from shaper.desired.ip_route import parse_route
from shaper.desired.ip_rule import parse_rule
from shaper.network import Network

SHAPER = "shaper0"
MASTER = MasterNetwork((ip_interface("10.0.0.5/24"),), {4: NextHop(ip_address("10.0.0.1"), None)})
NOTHING = Seen(is_up=False, addresses=(), routes=(), rules=())


def declared(*routes: str, addresses: list[str], rules: tuple[str, ...] = ()) -> Network:
    """Return a declaration."""
    return parse_network(SHAPER, is_up=None, addresses=addresses, routes=[*routes], rules=[*rules])


def test_what_was_added_by_hand_is_declared() -> None:
    """Addresses, routes of every table, and the rules that lead to those tables or name it."""
    rules = tuple(
        map(
            parse_rule,
            [
                "priority 5 from all fwmark 0x7 lookup 7",
                "priority 6 from all iif shaper0 lookup 9",
                "priority 7 from all lookup 254",
                "priority 8 from all fwmark 0x8 lookup 8",
            ],
        )
    )
    seen = Seen(
        is_up=True,
        addresses=(ip_interface("10.0.0.9/28"),),
        routes=(parse_route("10.1.0.0/24", SHAPER), parse_route("default table 7", SHAPER)),
        rules=rules,
    )
    found = inventory(SHAPER, Network(), presence(Network(), MASTER), seen)
    assert found == Network(
        is_up=True, addresses=seen.addresses, routes=seen.routes, rules=rules[:2]
    )


def test_what_was_declared_is_saved_as_it_was_declared() -> None:
    """The halves of a default and the copies of addresses are not saved beside it."""
    network = declared(
        "default", addresses=["master", "10.9.0.1/32"], rules=("to 10.5.0.0/16 table 7",)
    )
    wanted = presence(network, MASTER)
    seen = Seen(
        is_up=True,
        addresses=(*wanted.copies, *wanted.addresses),
        routes=wanted.routes,
        rules=(parse_rule("priority 32765 from all to 10.5.0.0/16 lookup 7"),),
    )
    assert inventory(SHAPER, network, wanted, seen) == network


def test_a_device_that_is_down_is_not_declared_to_be_anything() -> None:
    """It may have been left so because it is not in use yet."""
    assert inventory(SHAPER, Network(), presence(Network(), MASTER), NOTHING) == Network()


def test_what_was_saved_is_saved_again() -> None:
    """To save, to restore and to save gives the same."""
    seen = Seen(
        is_up=True,
        addresses=(ip_interface("10.0.0.9/28"),),
        routes=(parse_route("10.1.0.0/24", SHAPER),),
        rules=(),
    )
    first = inventory(SHAPER, Network(), presence(Network(), MASTER), seen)
    assert inventory(SHAPER, first, presence(first, MASTER), seen) == first

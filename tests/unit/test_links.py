"""The table of devices: found by index, by name and as ports, whatever changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shaper.kernel.links import Links
from shaper.model import Link
from shaper.testing.memory_messages import link_message
from tests.unit.machine_rig import ETH1

ETH2 = replace(ETH1, ifindex=3, ifname="eth2")
BRIDGE = replace(ETH1, ifindex=9, ifname="br0")


def table(*known: Link) -> Links:
    """Return a table of these devices."""
    links = Links()
    links.replace([link_message(link) for link in known])
    return links


def test_found_by_index_and_by_name() -> None:
    """Both lead to the device; what is not there is None."""
    links = table(ETH1, ETH2)
    assert (links.index(3), links.name("eth2")) == (ETH2, ETH2)
    assert (links.index(4), links.name("eth3")) == (None, None)
    assert links.names() == {"eth1", "eth2"}


def test_only_what_changed_is_told() -> None:
    """An event that brings nothing new has no index, nor has the end of what was not known."""
    links = table(ETH1)
    assert links.update(link_message(ETH1)) is None
    assert links.update(link_message(replace(ETH1, mtu=1400))) == 2
    assert links.update(link_message(ETH1, event="RTM_DELLINK")) == 2
    assert links.update(link_message(ETH1, event="RTM_DELLINK")) is None
    assert links.name("eth1") is None


@pytest.mark.parametrize(
    "told",
    [
        [(ETH1, "aside"), (ETH2, "eth1"), (ETH1, "eth2")],
        [(ETH2, "eth1"), (ETH1, "eth2")],
    ],
)
def test_a_name_is_that_of_who_bears_it_now(told: list[tuple[Link, str]]) -> None:
    """Two devices swap their names, seen as it goes or in the end: both have the new ones."""
    links = table(ETH1, ETH2)
    for link, ifname in told:
        links.update(link_message(replace(link, ifname=ifname)))
    assert links.name("eth1") == replace(ETH2, ifname="eth1")
    assert links.name("eth2") == replace(ETH1, ifname="eth2")
    assert links.names() == {"eth1", "eth2"}


def test_ports_come_and_go() -> None:
    """A bridge has the ports that say so, until they say otherwise or are gone."""
    links = table(BRIDGE, replace(ETH1, upper=9), replace(ETH2, upper=9))
    assert links.ports(9) == {2, 3}
    links.update(link_message(ETH1))
    assert links.ports(9) == {3}
    links.update(link_message(replace(ETH2, upper=9), event="RTM_DELLINK"))
    assert links.ports(9) == set()


def test_a_dump_replaces_everything() -> None:
    """What it does not tell of is gone, by every way; all that was and is there is told."""
    links = table(replace(ETH1, upper=9), BRIDGE)
    assert links.replace([link_message(ETH2)]) == {2, 3, 9}
    assert links.by_index == {3: ETH2}
    assert links.names() == {"eth2"}
    assert links.ports(9) == set()

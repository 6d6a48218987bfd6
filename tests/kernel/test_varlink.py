"""The control socket, spoken to by a varlink client that is not ours."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest
import varlink

from bench.lab.daemon import Shaperd
from bench.lab.topology import MASTER

REFUSALS = [
    ("Attach", ("shaper0", "nosuch"), "NoSuchMaster", errno.ENODEV),
    ("Show", ("shaper9",), "NoSuchShaper", errno.ENODEV),
    ("Detach", ("shaper0",), "NotAttached", errno.EINVAL),
    ("SetSpeed", ("shaper0", 10**30), "InvalidValue", errno.EINVAL),
    ("SetSpeed", ("shaper0", 7), "InvalidValue", errno.EINVAL),
    ("Add", ("shaper0",), "Busy", errno.EBUSY),
]


@pytest.fixture
def client(shaperd: Shaperd) -> Iterator[varlink.Client]:
    """Connect the varlink project's own client."""
    with varlink.Client.new_with_address(f"unix:{shaperd.socket}") as made:
        yield made


def test_the_service_describes_itself(client: varlink.Client) -> None:
    """Its interfaces are listed, and the description has every method and error."""
    with client.open("org.varlink.service") as service:
        info = service.GetInfo()
        described = service.GetInterfaceDescription("org.shaper")["description"]
    assert info["product"] == "shaperd"
    assert set(info["interfaces"]) == {"org.varlink.service", "org.shaper"}
    for method in ("Show", "Attach", "Detach", "SetSpeed", "Add", "Delete", "SetOptions"):
        assert f"method {method}(" in described
    for error in ("NoSuchShaper", "NoSuchMaster", "Busy", "InvalidValue", "NotPermitted"):
        assert f"error {error}" in described


def test_calls_are_answered(client: varlink.Client) -> None:
    """What is changed by one call is shown by the next."""
    with client.open("org.shaper") as shaper:
        shaper.SetSpeed("shaper0", 64_000)
        shaper.Attach("shaper0", MASTER)
        (shown,) = shaper.Show()["shapers"]
        assert (shown["ifname"], shown["link"]) == ("shaper0", MASTER)
        assert shown["options"]["rate_bits"] == 64_000
        shaper.Detach("shaper0")
        assert shaper.Show("shaper0")["shapers"][0]["state"] == "detached"


def test_refusals_have_a_name_and_a_number(client: varlink.Client) -> None:
    """A program can tell refusals apart, and gets the kernel's number for each."""
    for method, parameters, error, number in REFUSALS:
        with client.open("org.shaper") as shaper, pytest.raises(varlink.VarlinkError) as refused:
            getattr(shaper, method)(*parameters)
        assert refused.value.error() == f"org.shaper.{error}"
        assert refused.value.parameters()["errno"] == number

"""What excludes what else is declared is refused, with its line in the file."""

from __future__ import annotations

import pytest

from shaper.desired.config import parse_config
from shaper.errors import InvalidValue, KernelRefused


def file_with(**lists: list[str]) -> str:
    """Return a shaper.toml whose lists have one value a line, the first on line 4."""
    text = "[device.shaper0]\nup = true\n"
    for key, values in lists.items():
        text += f"{key} = [\n" + "".join(f'  "{each}",\n' for each in values) + "]\n"
    return text


@pytest.mark.parametrize(
    ("key", "values", "reason"),
    [
        ("routes", ["default via 10.0.0.1", "default via 10.0.0.2"], "before it"),
        ("routes", ["default", "default"], "before it"),
        ("routes", ["default", "128.0.0.0/1"], "before it"),
        ("routes", ["10.1.0.0/24", "unreachable 10.1.0.0/24"], "before it"),
        ("routes", ["10.1.0.0/24", "10.1.0.0/24 metric 0"], "before it"),
        ("routes", ["fd09::/64", "fd09::/64 via fe80::1"], "before it"),
        ("routes", ["10.1.0.0/24", "10.2.0.0/24 metric 4294967136"], "guard"),
        ("addresses", ["10.0.0.1/24", "10.0.0.1/24"], "twice"),
        ("addresses", ["fd00::1/64", "fd00::1/80"], "twice"),
        ("rules", ["fwmark 7 table 7", "from all fwmark 0x7 lookup 7"], "twice"),
        ("routes", ["10.1.0.0/24", "10.2.0.0/24 via 10.1.300.1"], "10.1.300.1"),
        ("addresses", ["10.0.0.1/24", "224.0.0.1/4"], "multicast"),
        ("rules", ["fwmark 7 table 7", "priority -3 table 7"], "-3"),
    ],
)
def test_the_second_is_refused_and_its_line_named(
    key: str, values: list[str], reason: str
) -> None:
    """The sentence has the line, the shaper, and the value."""
    with pytest.raises(InvalidValue, match=reason) as refused:
        parse_config(file_with(**{key: values}))
    assert str(refused.value).startswith("line 5: device.shaper0: ")


@pytest.mark.parametrize("route", ["10.2.0.0/24 via 10.0.0.9", "10.0.0.9", "10.0.0.9/32 table 7"])
def test_no_route_leads_to_the_shaper_itself(route: str) -> None:
    """Neither as its destination nor as its next hop."""
    text = file_with(routes=[route], addresses=["10.0.0.9/24"])
    with pytest.raises(InvalidValue, match=r"line 4: .* own address"):
        parse_config(text)


def test_what_the_kernel_tells_apart_can_be_declared_together() -> None:
    """By table, metric, family, priority or prefix length."""
    parse_config(
        file_with(
            routes=["default", "inet6 default", "default table 7", "10.1.0.0/24"],
            addresses=["10.0.0.1/24", "10.0.0.1/28", "fd00::1/64"],
            rules=["priority 5 table 7", "priority 6 table 7"],
        )
        + '[device.shaper1]\nroutes = ["10.1.0.0/24 metric 5"]\n'
    )


def test_two_shapers_have_no_route_in_common() -> None:
    """The kernel would use one of the two; of kinds that lead nowhere one is like the other."""
    text = file_with(routes=["default", "unreachable 10.9.0.0/16"])
    with pytest.raises(InvalidValue, match=r"line 8: device\.shaper1: .* shaper0 has"):
        parse_config(text + '[device."shaper1"]\nroutes = ["default"]\n')
    parse_config(text + '[device.shaper1]\nroutes = ["unreachable 10.9.0.0/16"]\n')


def test_what_the_kernel_refuses_has_its_line_too() -> None:
    """It is told as it was declared, or as `save` writes it; not found, it is told without."""
    config = parse_config(file_with(routes=["10.1.0.0/24", "10.2.0.0/24 metric 5 via 192.0.2.77"]))
    error = KernelRefused("unreachable", 101)
    assert config.sentence(error) == "unreachable"
    error.ifname, error.declared = "shaper0", "10.2.0.0/24 via 192.0.2.77 metric 5"
    assert config.sentence(error) == "line 5: unreachable"
    error.declared = "10.3.0.0/24"
    assert config.sentence(error) == "unreachable"

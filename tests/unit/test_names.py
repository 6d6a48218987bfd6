"""Device names: those the kernel takes pass, the others are refused with the reason."""

from __future__ import annotations

import pytest

from shaper.errors import InvalidValue
from shaper.names import check_name, check_seen_name


@pytest.mark.parametrize(
    "name", ["shaper0", "eth1", "a", "fifteen-bytes-x", "eth0.100", "...", "\u00e9t\u00e90"]
)
def test_name_passes(name: str) -> None:
    """A name that the kernel takes comes back as it was."""
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "it is empty"),
        (".", "it is a directory"),
        ("..", "it is a directory"),
        ("a/b", "'/' is not allowed"),
        ("eth0:1", "':' is not allowed"),
        ("shaper%d", "'%' is not allowed"),
        ("two words", "blanks and unprintable characters are not allowed"),
        ("tab\t", "blanks and unprintable characters are not allowed"),
        ("nul\0", "blanks and unprintable characters are not allowed"),
        ("all", "the kernel keeps it for its settings"),
        ("default", "the kernel keeps it for its settings"),
        ("\udcff", "blanks and unprintable characters are not allowed"),
        ("sixteen-bytes-xx", "it has 16 bytes and the kernel takes at most 15"),
        ("\u00e9" * 8, "it has 16 bytes and the kernel takes at most 15"),
    ],
)
def test_name_is_refused_with_the_reason(name: str, reason: str) -> None:
    """The sentence quotes the name and says what is wrong with it."""
    with pytest.raises(InvalidValue) as refused:
        check_name(name)
    assert str(refused.value).startswith(f"{name!r} cannot name a network device: {reason}")


@pytest.mark.parametrize("name", ["eth1", "e\udcff\x1b[2J", "\u00a0", "a%b", "..."])
def test_what_the_kernel_can_call_a_device_is_taken_from_it(name: str) -> None:
    """A device that somebody has given a name that we would refuse is known all the same."""
    assert check_seen_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "a/b", "a:b", "a b", "a\n", "a\0", "x" * 16, "\udcff" * 16]
)
def test_what_it_cannot_is_not(name: str) -> None:
    """A file that says it is damaged."""
    with pytest.raises(InvalidValue, match="is no name of a network device"):
        check_seen_name(name)

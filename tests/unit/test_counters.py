"""What the kernel counts for devices, which may have any names."""

from __future__ import annotations

from shaper.kernel.counters import dropped_in

NAMES = ["lo", "eth0.100", "e\udcff", "a\x1c\x85b", "\x1b[2J", "\u00e9", "\u2028"]


def test_devices_of_any_names_are_told_apart() -> None:
    """The kernel refuses blanks, slashes and colons in a name, and no other bytes."""
    rows = [
        f"{name:>6}: {' '.join(map(str, range(at, at + 16)))}" for at, name in enumerate(NAMES)
    ]
    told = "\n".join(["Inter-| Receive | Transmit", " face |bytes |bytes", *rows, ""])
    dropped = dropped_in(told.encode(errors="surrogateescape"))
    assert dropped == {name: at + 11 for at, name in enumerate(NAMES)}

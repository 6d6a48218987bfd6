"""What a captor holds on devices, and what holds it beyond this daemon."""

from __future__ import annotations

from typing import Protocol


class Held(Protocol):
    """A program on a device."""

    def is_in_place(self) -> bool:
        """Whether nothing has taken it away. Raises OSError where that cannot be told."""
        ...

    def close(self) -> None:
        """Take it away."""
        ...


class DescriptorKeeper(Protocol):
    """What outlives this daemon holds descriptors for us, by name."""

    def put(self, name: str, descriptor: int) -> bool:
        """Have a descriptor kept; return whether it was handed over."""
        ...

    def drop(self, name: str) -> None:
        """Have it kept no more."""
        ...

    def take(self, name: str) -> int | None:
        """Return what an earlier daemon had kept, which is the caller's now; or None."""
        ...

"""The words of a line as `ip` takes it: one after the other, each refused by name.

See ip-route(8) and ip-rule(8).
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from shaper.errors import InvalidValue
from shaper.network import IpAddress, IpNetwork

# Specified: include/uapi/linux/rtnetlink.h (RT_TABLE_*).
_TABLES = {"default": 253, "main": 254, "local": 255}
MOST = 0xFFFF_FFFF
MOST_PORT = 0xFFFF
EVERYTHING = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


class Words:
    """The words of one line, taken one after the other."""

    def __init__(self, what: str, text: str) -> None:
        self._what = what
        self._text = text
        self._words = text.split()
        if not self._words:
            raise InvalidValue(f"an empty {what}")

    def __bool__(self) -> bool:
        return bool(self._words)

    def take(self) -> str:
        """Return the next word."""
        if not self._words:
            raise self.wrong("something is missing at its end")
        return self._words.pop(0)

    def take_if(self, *expected: str) -> str | None:
        """Return the next word if it is one of these."""
        return self._words.pop(0) if self._words and self._words[0] in expected else None

    def wrong(self, why: str) -> InvalidValue:
        """Return the refusal of this line."""
        return InvalidValue(f"{self._what} {self._text!r}: {why}")

    def number(self, key: str, least: int = 0, most: int = MOST) -> int:
        """Take a number, decimal or as 0x... Raises InvalidValue outside of its bounds."""
        word = self.take()
        try:
            value = int(word, 0)
        except ValueError:
            raise self.wrong(f"{key} {word!r} is no number") from None
        if not least <= value <= most:
            raise self.wrong(f"{key} {word} is not within {least} and {most}")
        return value

    def span(self, key: str, most: int) -> tuple[int, int]:
        """Take `a` or `a-b`."""
        word = self.take()
        first, _, last = word.partition("-")
        try:
            low, high = int(first), int(last or first)
        except ValueError:
            raise self.wrong(f"{key} {word!r} is neither a number nor a range") from None
        if not 0 <= low <= high <= most:
            raise self.wrong(f"{key} {word} is not a range within 0 and {most}")
        return low, high

    def address(self, key: str) -> IpAddress:
        """Take an address."""
        word = self.take()
        try:
            return ip_address(word)
        except ValueError:
            raise self.wrong(f"{key} {word!r} is no IP address") from None

    def prefix(self, version: int | None = None) -> IpNetwork | None:
        """Take a prefix; None for `all`, `any` and `default`, whose version is not told."""
        word = self.take()
        if word in ("default", "all", "any"):
            return None if version is None else EVERYTHING[version]
        try:
            return ip_network(word)
        except ValueError as error:
            raise self.wrong(f"{word!r} is no prefix ({error})") from None

    def table(self, names: dict[str, int]) -> int:
        """Take a table, by number or by name."""
        word = self.take()
        known = _TABLES | names
        if word in known:
            return known[word]
        if not word.isdecimal() or not 0 < int(word) <= MOST:
            raise self.wrong(f"table {word!r} is neither a number nor a name in rt_tables")
        return int(word)

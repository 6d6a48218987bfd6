"""The words of a line as `ip` takes it: one after the other, each refused by name.

See ip-route(8) and ip-rule(8).
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address, ip_address, ip_network

from shaper.errors import InvalidValue
from shaper.names import check_name
from shaper.network import IpAddress, IpNetwork

# Specified: include/uapi/linux/rtnetlink.h (RT_TABLE_*).
_TABLES = {"default": 253, "main": 254, "local": 255}
MOST = 0xFFFF_FFFF
LEAST_PORT = 1
MOST_PORT = 0xFFFE
MOST_UID = MOST - 1  # the last is no user
EVERYTHING = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}
_BROADCAST = IPv4Address("255.255.255.255")


class Words:
    """The words of one line, taken one after the other."""

    def __init__(self, what: str, text: str) -> None:
        self._what = what
        self._text = text
        self._words = text.split()
        if not self._words:
            raise refusal(what, text, "it is empty")

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
        return refusal(self._what, self._text, why)

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

    def span(self, key: str, most: int, least: int = 0) -> tuple[int, int]:
        """Take `a` or `a-b`."""
        word = self.take()
        first, _, last = word.partition("-")
        try:
            low, high = int(first), int(last or first)
        except ValueError:
            raise self.wrong(f"{key} {word!r} is neither a number nor a range") from None
        if not least <= low <= high <= most:
            raise self.wrong(f"{key} {word} is not a range within {least} and {most}")
        return low, high

    def address(self, key: str) -> IpAddress:
        """Take an address."""
        word = self.take()
        try:
            return ip_address(word)
        except ValueError:
            raise self.wrong(f"{key} {word!r} is no IP address") from None

    def host(self, key: str) -> IpAddress:
        """Take the address of one host."""
        address = self.address(key)
        if (reason := why_no_host(address)) is not None:
            raise self.wrong(f"{key} {address} {reason}")
        return address

    def one_of(self, key: str, names: Collection[str], most: int) -> None:
        """Take a word that `ip` knows, or a number."""
        word = self.take()
        if word not in names and not (word.isdecimal() and int(word) <= most):
            raise self.wrong(f"{key} {word!r} is unknown")

    def device(self, key: str) -> str:
        """Take the name of a network device, which need not be there yet."""
        try:
            return check_name(self.take())
        except InvalidValue as error:
            raise self.wrong(f"{key} {error}") from None

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


def why_no_host(address: IpAddress) -> str | None:
    """Return why an address can be that of no host on a link; None if it can."""
    if address.is_unspecified:
        return "is the unspecified address"
    if address.is_multicast:
        return "is a multicast address"
    if address == _BROADCAST:
        return "is the broadcast address"
    return None


def refusal(what: str, text: str, why: str) -> InvalidValue:
    """Return the refusal of an address, route or rule."""
    error = InvalidValue(f"{what} {text!r}: {why}")
    error.declared = text
    return error

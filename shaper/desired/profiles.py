"""Common links in one word: rates, delay and loss, each figure with its source. Pure.

- modem-56k, edge, 3g, 4g, dsl, cable, fibre: the connectivity profiles of WebPageTest called Dial,
  Edge, 3G, 4G, DSL, Cable and FIOS (www/settings/connectivity.ini.sample).
- satellite: the delay of a geostationary one (RFC 2488, section 2), at the rates by which the FCC
  defined broadband (2015 Broadband Progress Report).
- lossy-wifi: cable behind a radio link; its loss is the mean share of retransmissions of TCP in
  the United States (Langley et al., The QUIC Transport Protocol, SIGCOMM 2017).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from shaper.desired.line_syntax import PERCENT
from shaper.errors import InvalidValue
from shaper.line_options import Delay, LineOptions, RandomLoss

DOWN, UP = "down", "up"

_KBIT, _MBIT = 1_000, 1_000_000
_MS = 1_000_000


@dataclass(frozen=True)
class Profile:
    """A link, both ways.

    Attributes:
        down_bits: towards the user, in bits per second.
        up_bits: away from the user.
        line: what frames meet in either direction, half of the delay there and back included.
    """

    down_bits: int
    up_bits: int
    line: LineOptions

    def rate_bits(self, direction: str) -> int:
        """Return the rate of a direction."""
        return self.down_bits if direction == DOWN else self.up_bits


Profiles = Mapping[str, Profile]


def halved(line: LineOptions) -> LineOptions:
    """Return what frames meet one way, of a line whose delay is there and back."""
    return replace(line, delay=replace(line.delay, delay_ns=line.delay.delay_ns // 2))


def _known(down_bits: int, up_bits: int, delay_ns: int, loss: int = 0) -> Profile:
    line = LineOptions(Delay(delay_ns), RandomLoss(loss) if loss else None)
    return Profile(down_bits, up_bits, halved(line))


PROFILES: Profiles = {
    "modem-56k": _known(49 * _KBIT, 30 * _KBIT, 120 * _MS),
    "edge": _known(240 * _KBIT, 200 * _KBIT, 840 * _MS),
    "3g": _known(1600 * _KBIT, 768 * _KBIT, 300 * _MS),
    "4g": _known(9 * _MBIT, 9 * _MBIT, 170 * _MS),
    "dsl": _known(1500 * _KBIT, 384 * _KBIT, 50 * _MS),
    "cable": _known(5 * _MBIT, 1 * _MBIT, 28 * _MS),
    "fibre": _known(20 * _MBIT, 5 * _MBIT, 4 * _MS),
    "satellite": _known(25 * _MBIT, 3 * _MBIT, 558 * _MS),
    "lossy-wifi": _known(5 * _MBIT, 1 * _MBIT, 28 * _MS, 2 * PERCENT),
}


def find(text: str, own: Profiles) -> tuple[Profile, str]:
    """Return the profile and the direction that `NAME [down|up]` says; down if it says none.

    Raises InvalidValue, naming what there is.

    Args:
        text: what was written.
        own: profiles of the configuration, which go before those of the same name here.
    """
    name, *rest = text.split() or [""]
    known = {**PROFILES, **own}
    if name not in known:
        raise InvalidValue(f"profile {name[:40]!r} is unknown: write {', '.join(known)}")
    if len(rest) > 1 or (rest and rest[0] not in (DOWN, UP)):
        raise InvalidValue(f"profile {text[:40]!r}: write profile {name} [{DOWN}|{UP}]")
    return known[name], rest[0] if rest else DOWN

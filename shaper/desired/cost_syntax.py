"""How it is written what a frame takes on a link: `overhead 38 mpu 84`, `overhead pppoe-ptm`.

A number is bytes beyond what the master shows, its link-layer header included. A word stands for
a kind of link, with the values that it has in tc-cake(8), which are counted from the IP packet on.
"""

from __future__ import annotations

from dataclasses import replace

from shaper.errors import InvalidValue
from shaper.line_options import Cells, Cost

OVERHEAD, MPU = "overhead", "mpu"
KEYS = (OVERHEAD, MPU)

# Specified by tc-cake(8).
_LEAST, _MOST = -64, 256
_VLAN_WORD, _VLAN_BYTES = "ether-vlan", 4
LINK_COSTS = {
    "raw": Cost(),
    "conservative": Cost(48, cells=Cells.ATM, is_of_packet=True),
    "ipoa-vcmux": Cost(8, cells=Cells.ATM, is_of_packet=True),
    "ipoa-llcsnap": Cost(16, cells=Cells.ATM, is_of_packet=True),
    "bridged-vcmux": Cost(24, cells=Cells.ATM, is_of_packet=True),
    "bridged-llcsnap": Cost(32, cells=Cells.ATM, is_of_packet=True),
    "pppoa-vcmux": Cost(10, cells=Cells.ATM, is_of_packet=True),
    "pppoa-llc": Cost(14, cells=Cells.ATM, is_of_packet=True),
    "pppoe-vcmux": Cost(32, cells=Cells.ATM, is_of_packet=True),
    "pppoe-llcsnap": Cost(40, cells=Cells.ATM, is_of_packet=True),
    "bridged-ptm": Cost(22, cells=Cells.PTM, is_of_packet=True),
    "pppoe-ptm": Cost(30, cells=Cells.PTM, is_of_packet=True),
    "docsis": Cost(18, mpu=64, is_of_packet=True),
    "ethernet": Cost(38, mpu=84, is_of_packet=True),
}


def change_cost(cost: Cost, key: str, words: list[str]) -> Cost:
    """Return a cost with `overhead` or `mpu` changed; no words put one back.

    `overhead` says all of it, so an mpu that is to differ from that of a word comes after.

    Raises InvalidValue, naming key and value.
    """
    if key == MPU:
        if len(words) > 1:
            raise InvalidValue(f"mpu {' '.join(words)[:40]}: one value is enough")
        return replace(cost, mpu=_number(MPU, words[0], 0) if words else 0)
    changed = Cost()
    for word in words:
        if word in LINK_COSTS:
            changed = LINK_COSTS[word]
        elif word == _VLAN_WORD:
            changed = replace(changed, overhead=changed.overhead + _VLAN_BYTES)
        elif word in set(Cells):
            changed = replace(changed, cells=Cells(word))
        else:
            overhead = changed.overhead + _number(OVERHEAD, word, _LEAST)
            changed = replace(changed, overhead=overhead)
    if words == ["raw"]:
        changed = Cost()
    if not _LEAST <= changed.overhead <= _MOST:
        raise InvalidValue(
            f"overhead {' '.join(words)[:40]} is {changed.overhead} bytes ({_LEAST} to {_MOST})"
        )
    return changed


def write_cost(cost: Cost) -> dict[str, str]:
    """Return the keys and values of a cost, as `change_cost` reads them."""
    overhead = _write_overhead(cost)
    texts = {} if overhead == "0" else {OVERHEAD: overhead}
    if change_cost(Cost(), OVERHEAD, overhead.split()).mpu != cost.mpu:
        texts[MPU] = str(cost.mpu)
    return texts


def _write_overhead(cost: Cost) -> str:
    for word, link in LINK_COSTS.items():
        if link == cost:
            return word
    cells = "" if cost.cells is Cells.NONE else f" {cost.cells}"
    if not cost.is_of_packet:
        return f"{cost.overhead}{cells}"
    return f"ethernet {cost.overhead - LINK_COSTS['ethernet'].overhead}{cells}"


def _number(key: str, text: str, least: int) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 6:
        links = f", or {', '.join(LINK_COSTS)}" if key == OVERHEAD else ""
        raise InvalidValue(
            f"{key} {text[:40]!r} is no number of bytes: write {least} to {_MOST}{links}"
        )
    if not least <= int(text) <= _MOST:
        raise InvalidValue(f"{key} {text} is out of bounds ({least} to {_MOST} bytes)")
    return int(text)

"""Frames that no sender would send, through all pure code that a frame meets."""

from __future__ import annotations

import random
from typing import Any

from shaper.packet import ecn, flow
from shaper.packet.checksum import complete
from shaper.packet.frame import (
    MAX_SEGMENTS,
    VNET_HEADER_BYTES,
    is_excessive,
    is_neighbour_traffic,
    may_leave,
    measure,
    parse_frame,
)
from shaper.packet.headerless import strip_link_header
from shaper.packet.segment import split
from tests.ordeal.campaign import Trial, campaign

FRAMES_A_REPETITION = 1000
MOST_BYTES = 400
MOST_CHAIN_BYTES = 9000
# Chosen: how often a frame may be looked at before it is known where it goes; chains take 170.
MOST_STEPS = 250
# What steers the code: types, protocols, lengths and flags, put where it looks for them.
WORDS = tuple(
    bytes.fromhex(each)
    for each in (
        "0800", "86dd", "8100", "88a8", "9200", "9300", "0806", "88cc", "0026", "4500", "4f00",
        "6000", "0006", "0011", "003a", "002c", "0000", "00fd", "0002", "ffff", "0101", "0105",
        "0104", "0103", "8700", "4000", "2000",
    )
)  # fmt: skip


# What can be repeated: the type or protocol before it, and one of them as a frame has it.
_LINKS = {
    "tags": (b"\x81\x00", b"\0\1\x81\x00"),
    "extension headers": (b"\x3c", b"\x3c" + bytes(7)),
    "fragment headers": (b"\x2c", b"\x2c" + bytes(7)),
}


class Watched(bytes):
    """A frame that counts how often it is looked at."""

    steps = 0

    def __getitem__(self, key: Any) -> Any:
        """Look at a byte or some."""
        Watched.steps += 1
        return super().__getitem__(key)


def steps(data: bytes) -> int:
    """Return how often a frame is looked at until it is known whether and where it leaves."""
    watched, Watched.steps = Watched(data), 0
    is_neighbour_traffic(watched)
    may_leave(watched, keeps_neighbours=True)
    is_excessive(watched)
    measure(watched)
    flow.identify(watched)
    ecn.mark(watched)
    return Watched.steps


def chain(kind: str, total_bytes: int) -> bytes:
    """Return a frame that is one header again and again, up to a length."""
    before, each = _LINKS[kind]
    data = bytes(10) + bytes(12)
    if kind == "tags":
        data += before
    else:
        data += b"\x86\xdd\x60" + bytes(5) + before + b"\x40" + bytes(32)
    return data + each * ((total_bytes - len(data)) // len(each))


def frame(source: random.Random) -> bytes:
    """Return random bytes into which some words were put, or a chain of headers and some bytes."""
    if source.random() < 0.05:
        links = chain(source.choice(tuple(_LINKS)), source.randrange(60, MOST_CHAIN_BYTES))
        return links + source.randbytes(source.randrange(40))
    data = bytearray(source.randbytes(source.randrange(MOST_BYTES)))
    if source.random() < 0.7 and len(data) > 36:
        data[22:24] = source.choice((b"\x08\x00", b"\x86\xdd", b"\x81\x00"))
        data[0:2] = bytes([source.randrange(2), source.choice((0, 0, 1, 3, 4, 5))])
        data[2:10] = bytes(2) + source.choice((b"\x01\x00", b"\x64\x00")) + b"\x22\x00\x10\x00"
    for _ in range(source.randrange(6)):
        place = source.randrange(max(1, min(len(data), 90)))
        data[place : place + 2] = source.choice(WORDS)
    return bytes(data)


def fault(data: bytes) -> str | None:
    """Return what the pure code does wrong with a frame, or None."""
    try:
        looks = steps(data)
        whole = parse_frame(data) if len(data) >= VNET_HEADER_BYTES else None
        if len(complete(data)) != len(data) or not isinstance(is_neighbour_traffic(data), bool):
            return "the checksum changed its length"
        if looks > MOST_STEPS:
            return f"it is looked at {looks} times"
        if whole is None or whole.packets > MAX_SEGMENTS:
            return None
        parts = split(whole)
        flow.identify(data)
        marked = ecn.mark(data)
        strip_link_header(data)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if sum(part.wire_bytes for part in parts) != whole.wire_bytes:
        return "its segments do not add up to it"
    if len(parts) not in (1, whole.packets):
        return "it has another number of segments than was measured"
    if marked is not None and len(marked) != len(data):
        return "the mark changed its length"
    return None


@campaign("frames fuzzed", count=10_000)
def fuzz_frames(trial: Trial) -> None:
    """No frame raises, changes its length, has segments that do not add up or takes long."""
    source = random.Random()
    for _ in trial:
        for _ in range(FRAMES_A_REPETITION):
            data = frame(source)
            reason = fault(data)
            if reason is not None:
                trial.failed(f"{reason}: {data.hex()}")

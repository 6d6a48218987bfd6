"""The programs that share out the rings of TAPs, loaded and put on (`ring_program`)."""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets

from shaper.errors import KernelRefused, ShaperError
from shaper.kernel import bpf, ring_bell, ring_program
from shaper.kernel.bpf_refusals import bpf_refusals
from shaper.kernel.programs import encode
from shaper.kernel.tap import Tap
from shaper.model import RING_ROW_BYTES

_DOING = "keep a flood from filling a shaper's ring"
_REMARK = "(all else works)"
_KEY_BITS = 31


class RingCaps:
    """What one daemon's programs share with its forwarders.

    Args:
        places: how many forwarders there are; each has rows of its own.
        rows: how many TAPs there can be.

    Attributes:
        rows: the descriptor of each place's rows, to be mapped; none where this is refused.
        bells: that of each place's ring buffer, to be mapped, too; none before 5.8.
        refusal: why it is.
    """

    def __init__(self, places: int, rows: int) -> None:
        self.rows: list[int] = []
        self.bells: list[int] = []
        self.refusal = ""
        try:
            with bpf_refusals(_DOING, _REMARK):
                for _ in range(places):
                    self.rows.append(_array("shaper_rings", RING_ROW_BYTES, rows, is_shared=True))
        except ShaperError as error:
            self.close()
            self.refusal = str(error)
            return
        with contextlib.suppress(OSError):
            for _ in range(places):
                self.bells.append(_bell())

    def put_on(self, tap: Tap, place: int, row: int) -> None:
        """Have a program on a TAP, in place of any other; without rows, none.

        Raises KernelRefused or NotPermitted; the TAP is then as it was.
        """
        if not self.rows:
            self.take_off(tap)
            return
        with bpf_refusals(_DOING, _REMARK), contextlib.ExitStack() as opened:
            flows = _array("shaper_flows", ring_bell.PLACE_BYTES, ring_program.PLACES)
            opened.callback(os.close, flows)
            key = secrets.randbits(_KEY_BITS) | 1
            bell = self.bells[place] if place < len(self.bells) else None
            code = encode(ring_program.cap(row, self.rows[place], flows, key, bell))
            program = bpf.load("shaper_ring", code, bpf.ProgramKind.SOCKET_FILTER)
            opened.callback(os.close, program)
            tap.set_filter(program)

    def take_off(self, tap: Tap) -> None:
        """Have no program on a TAP, not even one that an earlier daemon has put there."""
        with contextlib.suppress(KernelRefused):  # deleted, or a kernel that knows of none
            tap.set_filter(None)

    def close(self) -> None:
        """Let go of the rows; programs keep theirs."""
        for descriptors in (self.rows, self.bells):
            while descriptors:
                os.close(descriptors.pop())


NO_CAPS = RingCaps(0, 0)


def _array(name: str, value_bytes: int, entries: int, *, is_shared: bool = False) -> int:
    return bpf.create_map(
        bpf.Map.ARRAY,
        name,
        key_bytes=4,
        value_bytes=value_bytes,
        entries=entries,
        is_shared=is_shared,
    )


def _bell() -> int:
    """Return a ring buffer. Raises OSError."""
    return bpf.create_map(
        bpf.Map.RING, "shaper_bell", key_bytes=0, value_bytes=0, entries=mmap.PAGESIZE
    )

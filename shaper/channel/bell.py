"""What wakes a forwarder for frames of sparse flows: a ring buffer that programs on TAPs write to.

The supervisor makes one for each place (`kernel.ring_caps`) and hands it over with the rows
(`ring_rows`). It is readable while something in it was not taken yet, which epoll tells.

    page 0: how far it was read | page 1: how far it was written | the records, mapped twice

A record is a header of 8 bytes, of which the highest bit says that it is being written, the row of
the TAP, and the time of CLOCK_MONOTONIC.

How far it was read is the forwarder's to say, and the kernel believes it. So one that was taken
over can leave its successor a buffer that is readable for ever, or full: a successor begins anew.

Source: Documentation/bpf/ringbuf.rst, include/uapi/linux/bpf.h (BPF_RINGBUF_*).
"""

from __future__ import annotations

import mmap
import os
from typing import NamedTuple

_WORD_BYTES = 8
_RECORD_WORDS = 3
_BUSY = 1 << 31


class BellCall(NamedTuple):
    """One ring of the bell: a frame of a sparse flow has come."""

    row: int
    at_ns: int


class Bell:
    """A mapped bell.

    Args:
        descriptor: of the ring buffer, one page long; it is ours from now on, also if this raises
            OSError, as without memory to map it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        page = mmap.PAGESIZE
        try:
            self._reader = mmap.mmap(descriptor, page)
            self._writer = mmap.mmap(descriptor, 3 * page, offset=page, prot=mmap.PROT_READ)
        except OSError:
            os.close(descriptor)
            raise
        self._read = memoryview(self._reader).cast("Q")
        self._written = memoryview(self._writer).cast("Q")
        self._records_at = page // _WORD_BYTES

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._descriptor

    def begin(self) -> None:
        """Forget how it rang so far, and how far a predecessor says that it has read."""
        self._read[0] = self._written[0]

    def take(self) -> list[BellCall]:
        """Return how it rang since this was asked last."""
        calls = []
        words, size = self._written, self._records_at
        at, end = self._read[0], words[0]
        while at < end:
            record = size + at // _WORD_BYTES % size
            if words[record] & _BUSY:
                break
            calls.append(BellCall(words[record + 1], words[record + 2]))
            at += _RECORD_WORDS * _WORD_BYTES
        self._read[0] = at
        return calls

    def close(self) -> None:
        """Let go of it."""
        for view in (self._read, self._written):
            view.release()
        for memory in (self._reader, self._writer):
            memory.close()
        os.close(self._descriptor)

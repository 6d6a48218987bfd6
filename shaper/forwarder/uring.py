"""An io_uring that reads frames into slots, many in one system call, and can do nothing else.

See io_uring(7), io_uring_setup(2) and io_uring_register(2). The requests are laid out once, one
for each slot; a batch names those that are wanted. RWF_NOWAIT completes each of them inside the
call: with a frame, or with EAGAIN where nothing waits.

    submission queue: numbers of requests --io_uring_enter--> completion queue: results

The law: once it is made, the kernel refuses all but READ_FIXED on registered files and the
registration of these (IORING_REGISTER_RESTRICTIONS), because a filter of system calls does not see
what a ring is told.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import resource
import struct
from array import array
from typing import NamedTuple

from shaper.forwarder.seccomp import IORING_REGISTER_FILES_UPDATE

# Specified: numbers of calls, the same on every architecture; the sizes of structures of io_uring;
# RWF_NOWAIT.
_NR_SETUP = 425
_NR_ENTER = 426
_NR_REGISTER = 427
_PARAMS_BYTES = 120
_CQE_BYTES = 16
_SQE = struct.Struct("=BBHiQQIIQHHi16x")
_RESTRICTION = struct.Struct("=HBx12x")
_UPDATE = struct.Struct("=IIQ")
_RWF_NOWAIT = 8

# Specified: include/uapi/linux/io_uring.h.
_IORING_SETUP_R_DISABLED = 1 << 6
_IORING_OFF_SQES = 0x10000000
_IORING_OP_READ_FIXED = 4
_IOSQE_FIXED_FILE = 1
_IORING_REGISTER_BUFFERS = 0
_IORING_REGISTER_FILES = 2
_IORING_REGISTER_RESTRICTIONS = 11
_IORING_REGISTER_ENABLE_RINGS = 12
_IORING_RESTRICTION_REGISTER_OP = 0
_IORING_RESTRICTION_SQE_OP = 1
_IORING_RESTRICTION_SQE_FLAGS_ALLOWED = 2
_IORING_RESTRICTION_SQE_FLAGS_REQUIRED = 3

# Chosen: descriptors from this one on are read without it. 32 kB of the kernel's memory.
_MOST_FILES = 4096

_WORD = 0xFFFFFFFF
_libc = ctypes.CDLL(None, use_errno=True)
_call = ctypes.CDLL(None, use_errno=True).syscall
_call.argtypes = [ctypes.c_long] * 7
_call.restype = ctypes.c_long


class RingMemory(NamedTuple):
    """What a ring shares with the kernel; the queues begin anew at their ends."""

    words: memoryview  # of both queues, with the places of the next four in it
    submission_tail: int
    completion_head: int
    completion_tail: int
    queue: memoryview  # numbers of requests
    results: memoryview  # of requests that are done
    requests: memoryview

    @classmethod
    def of(cls, descriptor: int, params: bytes) -> RingMemory:
        """Map the memory of a ring that struct io_uring_params describes."""
        entries, completions = struct.unpack_from("=2I", params)
        _, submission_tail, _, _, _, _, queue = struct.unpack_from("=7I", params, 40)
        head, tail, _, _, _, results = struct.unpack_from("=6I", params, 80)
        size = max(queue + 4 * entries, results + _CQE_BYTES * completions)
        view = memoryview(mmap.mmap(descriptor, size))
        words = view[: size // 4 * 4].cast("I")
        return cls(
            words,
            submission_tail // 4,
            head // 4,
            tail // 4,
            words[queue // 4 : queue // 4 + entries],
            view[results : results + _CQE_BYTES * completions].cast("i")[2::4],
            memoryview(mmap.mmap(descriptor, entries * _SQE.size, offset=_IORING_OFF_SQES)),
        )


class Uring:
    """A ring whose request `n` reads into slot `n` of a memory.

    Args:
        memory: what is read into; it stays in physical memory.
        slot_bytes: of each slot.

    Raises:
        OSError: the kernel has no such ring, or it does not allow one.
    """

    def __init__(self, memory: mmap.mmap, slot_bytes: int) -> None:
        self._slots = len(memory) // slot_bytes
        params = ctypes.create_string_buffer(_PARAMS_BYTES)
        struct.pack_into("=I", params, 8, _IORING_SETUP_R_DISABLED)
        self._descriptor = _checked(_libc.syscall(_NR_SETUP, self._slots, params))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most_files = (
            _MOST_FILES if soft == resource.RLIM_INFINITY else min(soft, _MOST_FILES)
        )
        self._files: set[int] = set()
        try:
            self._shared = RingMemory.of(self._descriptor, bytes(params))
            self._lay(memory, slot_bytes)
            self._register(memory)
        except BaseException:
            self.close()
            raise
        self._targets = self._shared.requests.cast("i")[1 :: _SQE.size // 4]
        self._numbers = memoryview(array("I", range(self._slots)))
        self._submitted = self._completed = 0
        self._aimed_at = -1

    def fileno(self) -> int:
        """Return its descriptor."""
        return self._descriptor

    def close(self) -> None:
        """Let go of the ring, and with it of all files."""
        os.close(self._descriptor)

    def admit(self, descriptor: int) -> bool:
        """Register a file to read from, unless it is registered; return whether it is then."""
        if descriptor not in self._files and descriptor < self._most_files:
            try:
                self._update(descriptor, descriptor)
            except OSError:
                return False
            self._files.add(descriptor)
        return descriptor in self._files

    def release(self, descriptor: int) -> None:
        """Let go of a file, which the ring would keep open."""
        if descriptor in self._files:
            self._files.discard(descriptor)
            self._update(descriptor, -1)

    def read(self, descriptor: int, count: int) -> list[int]:
        """Read into the first `count` slots; return each one's length, or -errno.

        Fewer where the kernel had no memory for more. Raises OSError when it is not as it should
        be: what is read after that cannot be told.
        """
        if descriptor != self._aimed_at:
            self._targets[:] = memoryview(array("i", [descriptor]) * self._slots)
            self._aimed_at = descriptor
        shared = self._shared
        at = self._submitted % self._slots
        whole = min(count, self._slots - at)
        shared.queue[at : at + whole] = self._numbers[:whole]
        if whole < count:
            shared.queue[: count - whole] = self._numbers[whole:count]
        shared.words[shared.submission_tail] = (self._submitted + count) & _WORD
        done = max(0, _call(_NR_ENTER, self._descriptor, count, 0, 0, 0, 0))
        self._submitted = (self._submitted + done) & _WORD
        if done < count:
            shared.words[shared.submission_tail] = self._submitted
        return self._results_of(done)

    def _results_of(self, done: int) -> list[int]:
        """Take the results of the last `done` requests."""
        shared = self._shared
        at = self._completed % len(shared.results)
        self._completed = (self._completed + done) & _WORD
        if shared.words[shared.completion_tail] != self._completed:
            raise OSError(errno.EIO, "a read through io_uring was not done at once")
        results: list[int] = shared.results[at : at + done].tolist()
        if len(results) < done:
            results += shared.results[: done - len(results)].tolist()
        shared.words[shared.completion_head] = self._completed
        return results

    def _lay(self, memory: mmap.mmap, slot_bytes: int) -> None:
        """Lay out the requests; the file is all that changes."""
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for slot in range(self._slots):
            where = (start + slot * slot_bytes, slot_bytes, _RWF_NOWAIT)
            request = (_IORING_OP_READ_FIXED, _IOSQE_FIXED_FILE, 0, -1, 0, *where, slot, 0, 0, 0)
            _SQE.pack_into(self._shared.requests, slot * _SQE.size, *request)

    def _register(self, memory: mmap.mmap) -> None:
        """Hand over the memory and an empty table of files, restrict the ring, enable it."""
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self._do(_IORING_REGISTER_BUFFERS, struct.pack("=QQ", start, len(memory)), 1)
        none = array("i", [-1] * self._most_files)
        self._do(_IORING_REGISTER_FILES, none.tobytes(), self._most_files)
        restrictions = (
            (_IORING_RESTRICTION_REGISTER_OP, IORING_REGISTER_FILES_UPDATE),
            (_IORING_RESTRICTION_SQE_OP, _IORING_OP_READ_FIXED),
            (_IORING_RESTRICTION_SQE_FLAGS_ALLOWED, _IOSQE_FIXED_FILE),
            (_IORING_RESTRICTION_SQE_FLAGS_REQUIRED, _IOSQE_FIXED_FILE),
        )
        packed = b"".join(_RESTRICTION.pack(*each) for each in restrictions)
        self._do(_IORING_REGISTER_RESTRICTIONS, packed, len(restrictions))
        self._do(_IORING_REGISTER_ENABLE_RINGS, None, 0)

    def _update(self, place: int, descriptor: int) -> None:
        one = ctypes.c_int(descriptor)
        self._do(IORING_REGISTER_FILES_UPDATE, _UPDATE.pack(place, 0, ctypes.addressof(one)), 1)

    def _do(self, operation: int, argument: bytes | None, count: int) -> None:
        _checked(_libc.syscall(_NR_REGISTER, self._descriptor, operation, argument, count))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"io_uring: {os.strerror(number)}")
    return result

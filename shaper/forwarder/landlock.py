"""No file, no connection, no signal: a Landlock domain without an exception. See landlock(7).

The seccomp filter refuses the same and more, wherever there is one. This is the second lock: of
another make, and for a kernel without the first.
"""

from __future__ import annotations

import ctypes
import os
import struct

# Specified: include/uapi/linux/landlock.h.
_LANDLOCK_CREATE_RULESET_VERSION = 1

# Specified: the numbers of the calls, the same on every architecture; bits of the same header,
# of versions that are younger than the headers of some distributions.
_NR_CREATE_RULESET = 444
_NR_RESTRICT_SELF = 446
_ALL_NETWORK = 0b11  # bind and connect TCP
_ALL_SCOPES = 0b11  # abstract Unix sockets, signals
# What can be refused, as it came with the versions of the interface.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
_NETWORK_SINCE = 4
SCOPES_SINCE = 6

_libc = ctypes.CDLL(None, use_errno=True)


def refuse_everything() -> None:
    """Open no file, connect to nothing and signal nothing outside from now on, for ever.

    Raises OSError: ENOSYS or EOPNOTSUPP where the kernel has no Landlock.
    """
    attributes = ruleset(version())
    descriptor = _checked(_libc.syscall(_NR_CREATE_RULESET, attributes, len(attributes), 0))
    try:
        _checked(_libc.syscall(_NR_RESTRICT_SELF, descriptor, 0))
    finally:
        os.close(descriptor)


def version() -> int:
    """Return the version of the kernel's interface. Raises OSError where it has none."""
    return _checked(_libc.syscall(_NR_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION))


def ruleset(known: int) -> bytes:
    """Return a ruleset that refuses all that this version of the interface can refuse."""
    rights = max(count for since, count in _FILE_RIGHTS.items() if since <= known)
    words = [(1 << rights) - 1]
    if known >= _NETWORK_SINCE:
        words.append(_ALL_NETWORK)
    if known >= SCOPES_SINCE:
        words.append(_ALL_SCOPES)
    return struct.pack(f"={len(words)}Q", *words)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result

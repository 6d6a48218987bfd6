"""Every error a user can meet, one class each, translated once at the control socket.

A message is one sentence that names the value and says what to do. `errno` is the kernel's
number for the same thing.
"""

from __future__ import annotations

import errno


class ShaperError(Exception):
    """Base of all refusals; never raised itself.

    Attributes:
        declared: the address, route or rule of shaper.toml that is refused, if it is one.
        ifname: the shaper that it is declared for.
    """

    errno: int = errno.EIO
    declared: str | None = None
    ifname: str | None = None


class NoSuchShaper(ShaperError):
    """The named device is not a shaper of this daemon."""

    errno = errno.ENODEV


class NoSuchMaster(ShaperError):
    """There is no device of the name given as master."""

    errno = errno.ENODEV


class Busy(ShaperError):
    """The device is attached already, or is used by someone else."""

    errno = errno.EBUSY


class NotAttached(ShaperError):
    """The device is not attached, so it cannot be detached."""

    errno = errno.EINVAL


class InvalidValue(ShaperError, ValueError):
    """A value that cannot be used: the message names it and the limit."""

    errno = errno.EINVAL


class NotPermitted(ShaperError):
    """The caller is neither root nor in the group that owns the service."""

    errno = errno.EPERM


class KernelRefused(ShaperError):
    """The kernel refused a request; `errno` is its answer."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.errno = number

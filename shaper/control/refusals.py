"""The errors of the interface org.shaper: how refusals travel."""

from asyncvarlink import TypedVarlinkErrorReply

from shaper import errors

INTERFACE = "org.shaper"


class _Parameters:
    message: str
    errno: int


class NoSuchShaper(TypedVarlinkErrorReply, interface=INTERFACE):
    """The named device is not a shaper of this daemon."""

    Parameters = _Parameters


class NoSuchMaster(TypedVarlinkErrorReply, interface=INTERFACE):
    """There is no device of the name given as master."""

    Parameters = _Parameters


class Busy(TypedVarlinkErrorReply, interface=INTERFACE):
    """The device is attached already, or is used by someone else."""

    Parameters = _Parameters


class NotAttached(TypedVarlinkErrorReply, interface=INTERFACE):
    """The device is not attached, so it cannot be detached."""

    Parameters = _Parameters


class InvalidValue(TypedVarlinkErrorReply, interface=INTERFACE):
    """A value that cannot be used."""

    Parameters = _Parameters


class NotPermitted(TypedVarlinkErrorReply, interface=INTERFACE):
    """The caller is neither root nor in the group that owns the service."""

    Parameters = _Parameters


class KernelRefused(TypedVarlinkErrorReply, interface=INTERFACE):
    """The kernel refused a request; errno is its answer."""

    Parameters = _Parameters


_REPLIES: dict[type[errors.ShaperError], type[TypedVarlinkErrorReply]] = {
    errors.NoSuchShaper: NoSuchShaper,
    errors.NoSuchMaster: NoSuchMaster,
    errors.Busy: Busy,
    errors.NotAttached: NotAttached,
    errors.InvalidValue: InvalidValue,
    errors.NotPermitted: NotPermitted,
    errors.KernelRefused: KernelRefused,
}


def reply(error: errors.ShaperError) -> TypedVarlinkErrorReply:
    """Return the error as it travels: the one place where errors are translated."""
    return _REPLIES[type(error)](message=str(error), errno=error.errno)


ERRORS = tuple(_REPLIES.values())

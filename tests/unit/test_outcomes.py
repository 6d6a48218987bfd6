"""Every errno that a master may answer with has its name among the drops."""

from __future__ import annotations

import errno

import pytest

from shaper.channel.board import DROP_REASONS
from shaper.forwarder.edges import outcome_of
from shaper.forwarder.ports import Outcome

NAMED = {
    Outcome.BLOCKED: {errno.EAGAIN},
    Outcome.NOBUFS: {errno.ENOBUFS, errno.ENOMEM},
    Outcome.OVERSIZE: {errno.EMSGSIZE},
    Outcome.GONE: {errno.ENETDOWN, errno.ENXIO, errno.ENODEV},
    Outcome.PROTOCOL: {errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.EPFNOSUPPORT},
    Outcome.UNREACHABLE: {
        errno.ENOKEY,
        errno.EDESTADDRREQ,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
    },
    Outcome.MALFORMED: {errno.EINVAL},
}


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_an_errno_has_one_outcome(number: int) -> None:
    """The listed ones as listed; every other is an error, to be reported."""
    named = [outcome for outcome, numbers in NAMED.items() if number in numbers]
    assert outcome_of(number) is (named[0] if named else Outcome.ERROR)


def test_every_outcome_is_counted_under_its_name() -> None:
    """What is not sent, and will not be tried again, has a counter."""
    lost = set(Outcome) - {Outcome.SENT, Outcome.BLOCKED}
    assert {outcome.value for outcome in lost} <= set(DROP_REASONS)

"""What the daemon's answers have to look like before anything is printed from them.

A daemon of another version, or another program behind the socket, may answer with anything.
It is held against these types once, so that printing needs no care. The types are read while
running, so this module does without postponed annotations.
"""

import json
from collections.abc import Callable
from functools import cache
from typing import Any, NoReturn, TypedDict, get_args, get_origin, is_typeddict

from shaper import names


class ReplyError(ValueError):
    """The answer is not one that this version knows."""


class FollowedTrace(TypedDict):
    """What a rate follows; `rate_bits` is what it offers now."""

    mode: str
    steps: int
    length_us: int
    at_us: int
    rate_bits: int


class ShownOptions(TypedDict):
    """What is set on a shaper, as it takes effect; `rate_bits` is 0 without a speed."""

    rate_bits: int
    burst_bytes: int
    queue: str
    limit_packets: int
    hz: int
    line: dict[str, str]
    trace: FollowedTrace | None


class Statistics(TypedDict):
    """What a shaper did; `achieved_bits` is None before it had any work."""

    sent_bytes: int
    sent_packets: int
    dropped: dict[str, int]
    overlimits: int
    backlog_bytes: int
    backlog_packets: int
    ecn_marks: int
    flows: int
    delay_ns: int | None
    delay_p99_ns: int | None
    achieved_bits: int | None
    busy_ns: int | None
    busy_bytes: int | None
    lately_bits: int | None
    lately_packets: int | None
    worst_bits: int | None
    achieved_since: int | None
    altered: dict[str, int] | None
    lately_burst_bytes: int | None
    worst_burst_bytes: int | None
    total_burst_bytes: int | None
    worst_delay_p99_ns: int | None
    total_delay_p99_ns: int | None


class AlarmRecord(TypedDict):
    """What is wrong with a shaper, and since when (seconds since the epoch)."""

    alarm: str
    sentence: str
    since: int


class Found(TypedDict):
    """What keeps a shaper from shaping, as the daemon sees it."""

    id: str
    severity: str
    sentence: str
    remedy: str | None


class Shaper(TypedDict):
    """One element of `-j show`; the order of the keys is the order of printing."""

    ifname: str
    ifindex: int
    link: str | None
    capture: str | None
    cgroup: str | None
    state: str
    operstate: str
    mtu: int
    options: ShownOptions
    stats: Statistics
    warnings: list[str]
    alarms: list[AlarmRecord] | None
    findings: list[Found] | None


class Shapers(TypedDict):
    """The answer to Show; `events` counts them by kind, and `version` is the daemon's."""

    shapers: list[Shaper]
    events: dict[str, int] | None
    version: str | None


class EventRecord(TypedDict):
    """One event; `time_us` is in microseconds since the epoch."""

    serial: int
    time_us: int
    event: str
    ifname: str | None
    link: str | None
    uid: int | None
    sentence: str


class Events(TypedDict):
    """Some events, the number to go on from, and whether events before them were missed."""

    events: list[EventRecord]
    serial: int
    gap: bool


class Warned(TypedDict):
    """The answer to everything that changes a shaper."""

    warnings: list[str]


class Added(TypedDict):
    """The answer to Add."""

    ifname: str
    warnings: list[str]


class Saved(TypedDict):
    """The answer to Save."""

    configuration: str


class ServiceInfo(TypedDict):
    """The answer to GetInfo of org.varlink.service."""

    version: str


class Refusal(TypedDict):
    """The parameters of an error of `org.shaper`."""

    message: str


def parse_answer(answer: bytes) -> tuple[str | None, dict[str, Any]]:
    """Return the error, if it is one, and the parameters of an answer; raises ReplyError."""
    try:
        reply = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise ReplyError(str(error)) from error
    if not isinstance(reply, dict):
        raise ReplyError("not an object")
    error_name, parameters = reply.get("error"), reply.get("parameters") or {}
    if not isinstance(error_name, str | None) or not isinstance(parameters, dict):
        raise ReplyError("neither an error nor parameters")
    return error_name, parameters


def printable(value: Any) -> Any:
    """Return an answer, or a text, as a terminal may show it: nothing in it moves the cursor.

    Names of devices and groups can have any characters, and so can what a forwarder says.
    """
    if isinstance(value, str):
        return names.printable(value)
    if isinstance(value, dict):
        return {printable(key): printable(each) for key, each in value.items()}
    return [printable(each) for each in value] if isinstance(value, list) else value


def fitted(value: object, wanted: Any) -> Any:
    """Return `value` as the type `wanted`, or raise ReplyError.

    Of an object the keys of the type are kept, in their order; an absent one is null, as
    varlink allows.
    """
    return _fitter(wanted)(value)


@cache
def _fitter(wanted: Any) -> Callable[[object], Any]:
    """Return what fits values to a type; made once a type, as a thousand shapers have many."""
    for kind in (list[AlarmRecord], list[Found]):  # an older daemon tells of none
        if wanted == kind | None:
            return _list_fitter(_fitter(kind))
    for optional in (dict[str, int], FollowedTrace):
        if wanted == optional | None:
            return _optional_fitter(_fitter(optional))
    if is_typeddict(wanted):
        return _object_fitter(wanted)
    if get_origin(wanted) in (list, dict):
        return _container_fitter(wanted)

    def fit_plain(value: object) -> object:
        if not isinstance(value, wanted):
            _refuse(value, wanted)
        return value

    return fit_plain


def _list_fitter(fit: Callable[[object], Any]) -> Callable[[object], Any]:
    return lambda value: [] if value is None else fit(value)


def _optional_fitter(fit: Callable[[object], Any]) -> Callable[[object], Any]:
    return lambda value: None if value is None else fit(value)


def _object_fitter(wanted: Any) -> Callable[[object], Any]:
    fits = [(key, _fitter(kind)) for key, kind in wanted.__annotations__.items()]

    def fit_object(value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            _refuse(value, wanted)
        return {key: fit(value.get(key)) for key, fit in fits}

    return fit_object


def _container_fitter(wanted: Any) -> Callable[[object], Any]:
    container, fit = get_origin(wanted), _fitter(get_args(wanted)[-1])

    def fit_container(value: object) -> Any:
        if isinstance(value, dict) and container is dict:
            return {key: fit(element) for key, element in value.items()}
        if isinstance(value, list) and container is list:
            return [fit(element) for element in value]
        _refuse(value, wanted)

    return fit_container


def _refuse(value: object, wanted: Any) -> NoReturn:
    raise ReplyError(f"{value!r} is not {wanted}")

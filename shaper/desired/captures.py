"""How traffic comes to shapers, as it is asked for, and what cannot be side by side. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

from shaper.errors import Busy, InvalidValue
from shaper.model import Capture, Group, Spec

# Chosen by systemd: where cgroup2 is mounted, beside version 1 or alone.
_MOUNTS = ("/sys/fs/cgroup/unified/", "/sys/fs/cgroup/")

# Chosen: the order of our programs on one device.
_LAST = 0
_LAST_OF_GROUPS = -1
_MOST_DEPTH = 30  # deeper groups are served as they come


def rank(capture: Capture, group: Group | None, before: int = _LAST_OF_GROUPS) -> int:
    """Return where the program of a shaper is among ours on one device: the lower is served first.

    Groups come before all that is sent, and a group before the one that it is in, so that limits
    nest. A program whose group is not there, or no more, stays where it is among those of groups.

    Args:
        capture: how the traffic is taken.
        group: whose traffic; None while there is none.
        before: the rank it has had.
    """
    if capture is not Capture.CGROUP:
        return _LAST
    if group is None:
        return min(before, _LAST_OF_GROUPS)
    return _LAST_OF_GROUPS - min(group.path.count("/"), _MOST_DEPTH)


def with_capture(spec: Spec, capture: str | None, cgroup: str | None) -> Spec:
    """Return a spec with this way for traffic to come; None: by route, and for no group.

    Raises InvalidValue for an unknown mode, one without what it needs, and a group that no mode
    asks for.
    """
    try:
        mode = Capture(capture or Capture.ROUTE)
    except ValueError:
        known = ", ".join(Capture)
        raise InvalidValue(f"capture {capture!r} is unknown (choose one of {known})") from None
    if cgroup is not None and not isinstance(cgroup, str):
        raise InvalidValue(f"cgroup {cgroup!r} is no text")
    if mode is Capture.CGROUP and not cgroup:
        raise InvalidValue("capture cgroup needs a group: a path below its mount, or a unit")
    if mode is not Capture.CGROUP and cgroup is not None:
        raise InvalidValue(f"cgroup {cgroup!r} goes with capture cgroup, and not with {mode}")
    if mode is not Capture.ROUTE and spec.master is None:
        raise InvalidValue(f"capture {mode} needs a master")
    return replace(spec, capture=mode, cgroup=None if cgroup is None else _shortened(cgroup))


class TakenTraffic(NamedTuple):
    """What a shaper takes: equal where it is the same."""

    master: str | None
    capture: Capture
    group: str | None


def by_name(spec: Spec) -> TakenTraffic:
    """Return what a shaper takes, as far as the names of masters and groups tell."""
    return TakenTraffic(spec.master, spec.capture, spec.cgroup and spec.cgroup.strip("/"))


def refuse_second(
    spec: Spec, others: Iterable[Spec], taken: Callable[[Spec], TakenTraffic] = by_name
) -> None:
    """Raise Busy when another shaper takes the same traffic: which would it pass first?"""
    if spec.capture is Capture.ROUTE:
        return
    for other in others:
        if other.ifname != spec.ifname and taken(other) == taken(spec):
            raise Busy(
                f"{other.ifname} takes the {_traffic(spec)} of {spec.master} already "
                f"(detach {other.ifname} first)"
            )


def refuse_doubles(specs: Iterable[Spec]) -> None:
    """Raise InvalidValue when two of these would take the same traffic."""
    specs = tuple(specs)
    for number, spec in enumerate(specs):
        try:
            refuse_second(spec, specs[:number])
        except Busy as error:
            raise InvalidValue(f"device.{spec.ifname}: {error}") from error


def _shortened(cgroup: str) -> str:
    """Return the path of a group below its mount, which may have been written in full."""
    for mount in _MOUNTS:
        cgroup = cgroup.removeprefix(mount)
    return cgroup.rstrip("/") or "/"


def _traffic(spec: Spec) -> str:
    return f"{spec.cgroup} traffic" if spec.capture is Capture.CGROUP else str(spec.capture)

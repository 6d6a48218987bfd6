"""Control groups: where a unit, slice or path has its group, and when one is made anew.

A group is a directory below the mount of cgroup2, alone (/sys/fs/cgroup) or beside version 1
(/sys/fs/cgroup/unified). A unit that is started again has a new directory of the old name, which
is another group to the kernel: it goes by the number of the directory, the inode.
"""

from __future__ import annotations

import ctypes
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from shaper.errors import InvalidValue, KernelRefused
from shaper.kernel.mounts import mounts
from shaper.model import Group

# Specified: inotify(7), systemd.unit(5).
_IN_CREATE, _IN_DELETE, _IN_MOVED_TO, _IN_DELETE_SELF = 0x100, 0x200, 0x80, 0x400
_WATCHED = _IN_CREATE | _IN_DELETE | _IN_MOVED_TO | _IN_DELETE_SELF
UNITS = (".service", ".slice", ".scope", ".mount", ".socket", ".swap")
_ROOT_SLICE = "-.slice"
_PLAIN = re.compile(r"[A-Za-z0-9:_.]", re.ASCII)  # in the name of a slice; a dash nests
_EVENTS_BYTES = 1 << 16
_NAME_BYTES = 255  # limits.h

# Chosen.
_MOST_GROUPS = 4096  # that a unit is looked for among, where it is in none of the usual places

_libc = ctypes.CDLL(None, use_errno=True)


def mount_point() -> Path:
    """Return where the groups are. Raises KernelRefused when there is no cgroup2 here."""
    for each in mounts():
        if each.kind == "cgroup2":
            return Path(each.place)
    raise KernelRefused(
        "there are no control groups here: cgroup2 is not mounted "
        "(mount -t cgroup2 none /sys/fs/cgroup)",
        2,
    )


def check(text: str, mounted: Callable[[], Path] = mount_point) -> str:
    """Return the name of a group or unit, as it is kept.

    Raises InvalidValue for what can be no group: a file, the root of all groups, or a path that
    leads out of them; KernelRefused where there are none at all.
    """
    root = mounted()
    parts = _parts(text, root)
    if not parts or parts == [_ROOT_SLICE]:
        raise InvalidValue(
            f"cgroup {text!r} is all groups (attach with egress takes all that is sent)"
        )
    if ".." in parts:
        raise InvalidValue(f"cgroup {text!r} leads out of {root}")
    if not text.isprintable() or max(map(len, map(os.fsencode, parts))) > _NAME_BYTES:
        raise InvalidValue(f"cgroup {text!r} can be no name of a group")
    if len(parts) == 1 and _is_bad_slice(parts[0]):
        raise InvalidValue(f"cgroup {text!r} can be no slice: systemd.slice(5) says how they nest")
    path, written = root.joinpath(*parts), Path(text)
    is_elsewhere = written.is_absolute() and written.exists() and not path.exists()
    if is_elsewhere or (path.exists() and not path.is_dir()):
        raise InvalidValue(f"cgroup {text!r} is no directory of {root}")
    return "/".join(parts)


def find(text: str, mounted: Callable[[], Path] = mount_point) -> Group | None:
    """Return the group of a path or unit; None while there is none."""
    try:
        root = mounted()
    except KernelRefused:
        return None
    return next((group for path in _candidates(text, root) if (group := at(str(path)))), None)


def at(path: str) -> Group | None:
    """Return the group of a directory; None while there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return Group(path, found.st_ino) if stat.S_ISDIR(found.st_mode) else None


def usual_place(text: str, mounted: Callable[[], Path] = mount_point) -> str:
    """Return where the group of a path or unit is most likely to come.

    Raises KernelRefused where there are no groups.
    """
    return str(next(_candidates(text, mounted())))


def place(text: str, mounted: Callable[[], Path] = mount_point) -> str:
    """Return where the group of a path or unit is, or would be: one string for all its names.

    Raises KernelRefused where there are no groups.
    """
    found = find(text, mounted)
    return found.path if found is not None else usual_place(text, mounted)


class Watch:
    """Becomes readable when a group of one of the watched names may have come or gone."""

    def __init__(self, mounted: Callable[[], Path] = mount_point) -> None:
        self._mounted = mounted
        self._descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return int(self._descriptor)

    def add(self, text: str) -> None:
        """Watch the directory in which a group is, or the nearest above it that there is."""
        try:
            root = self._mounted()
        except KernelRefused:
            return
        found = find(text, self._mounted)
        path = Path(found.path) if found is not None else next(_candidates(text, root))
        for directory in path.parents:
            watched = _libc.inotify_add_watch(self._descriptor, os.fsencode(directory), _WATCHED)
            if watched >= 0 or directory == root:
                return

    def clear(self) -> None:
        """Take what it has to tell."""
        try:
            while os.read(self._descriptor, _EVENTS_BYTES):
                pass
        except OSError:
            return

    def close(self) -> None:
        """Watch no more."""
        os.close(self._descriptor)


def _parts(text: str, root: Path) -> list[str]:
    """Return the directories of a path below the mount, which may be written in full."""
    path = PurePosixPath(f"/{text.lstrip('/')}" if text.startswith("/") else text)
    if path.is_relative_to(root):
        path = path.relative_to(root)
    return [part for part in path.parts if part != "/"]


def _candidates(text: str, root: Path) -> Iterator[Path]:
    """Return where a group may be, the likeliest first."""
    parts = _parts(text, root)
    is_unit = len(parts) == 1 and parts[0].endswith(UNITS)
    if not is_unit:
        yield root.joinpath(*parts)
        return
    yield from _usual_places(parts[0], root)
    yield from _everywhere(parts[0], root)


def _usual_places(unit: str, root: Path) -> Iterator[Path]:
    if unit.endswith(".slice"):
        yield root.joinpath(*_slices(unit))
        return
    slices = "system.slice"
    name, at, _ = unit.partition("@")
    if at:
        yield root / slices / f"system-{_escaped(name)}.slice" / unit
    yield root / slices / unit
    yield root / "machine.slice" / unit


def _escaped(name: str) -> str:
    r"""Return the name of a template as its slice has it: a dash is \x2d (systemd-escape(1))."""
    return "".join(
        character
        if _PLAIN.match(character)
        else "".join(map(r"\x{:02x}".format, character.encode()))
        for character in name
    )


def _is_bad_slice(unit: str) -> bool:
    return unit.endswith(".slice") and "" in unit.removesuffix(".slice").split("-")


def _slices(unit: str) -> list[str]:
    """Return the slices that a slice is in, itself the last: `a-b.slice` is in `a.slice`."""
    names = unit.removesuffix(".slice").split("-")
    return ["-".join(names[: end + 1]) + ".slice" for end in range(len(names))]


def _everywhere(unit: str, root: Path) -> Iterator[Path]:
    """Return the groups of this name, wherever they are."""
    waiting, seen = [root], 0
    while waiting and seen < _MOST_GROUPS:
        directory = waiting.pop(0)
        try:
            with os.scandir(directory) as entries:
                below = [Path(entry.path) for entry in entries if entry.is_dir()]
        except OSError:
            continue
        seen += len(below)
        yield from (path for path in below if path.name == unit)
        waiting += below


def is_empty(path: str) -> bool:
    """Whether no process is in a group or below it; False where that cannot be read."""
    try:
        events = Path(path, "cgroup.events").read_text(encoding="ascii")
    except OSError:
        return False
    return "populated 0" in events.splitlines()

"""The state file: what every shaper should be, kept over restarts.

Written whole or not at all: to a temporary file, flushed to the disk, renamed over the old one,
and the directory flushed. A file that cannot be read, or that a newer version wrote, is set aside
under another name and never overwritten; the daemon starts without it. So it does where the
directory cannot be written: what is asked for is then done, and does not survive a restart.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from shaper.desired import bounds, captures, line_syntax
from shaper.desired.declared import read_network, write_network
from shaper.desired.files import (
    MAX_FILE_BYTES,
    boot_id,
    make_directory,
    read_text,
    replace_text,
)
from shaper.desired.trace_syntax import write_trace
from shaper.errors import Busy, InvalidValue
from shaper.model import Capture, Options, Spec
from shaper.names import check_master_name, check_seen_name, check_texts
from shaper.network import Network

FILE_NAME = "state.json"
VERSION = 1

_log = logging.getLogger(__name__)


class Store:
    """The state file in one directory.

    Args:
        directory: made if it does not exist.
        sync: has what was written to a descriptor reach the disk, as os.fsync.
        most_bytes: of the file; a larger one could not be read again.
    """

    def __init__(
        self,
        directory: Path,
        sync: Callable[[int], None] = os.fsync,
        most_bytes: int = MAX_FILE_BYTES,
    ) -> None:
        self._sync = sync
        self._most_bytes = most_bytes
        self.path = directory / FILE_NAME
        # What was written last of each shaper: of a thousand, one has changed.
        self._written: dict[str, tuple[Spec, str]] = {}

    def load(self) -> list[Spec]:
        """Return what was saved; nothing if there is no file, or none that can be used."""
        try:
            return decode(read_text(self.path))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self._set_aside(f"cannot be read ({error.strerror})")
            return []
        except InvalidValue as error:
            self._set_aside(str(error))
            return []

    def keep(self, specs: Iterable[Spec]) -> list[str]:
        """Save; return a warning if that cannot be, the old file is then kept."""
        try:
            self.save(specs)
        except OSError as error:
            warning = (
                f"this will not survive a restart: cannot write {self.path} ({error.strerror})"
            )
            _log.error("%s", warning)
            return [warning]
        return []

    def obstacle(self) -> str | None:
        """Return why the file could not be written now; None if it could."""
        directory = self.path.parent
        if not directory.is_dir():
            return f"{directory} is no directory"
        return None if os.access(directory, os.W_OK) else f"{directory} is not writable"

    def save(self, specs: Iterable[Spec]) -> None:
        """Replace the file. Raises OSError, and the old file is then untouched."""
        text = _enclose(self._lines(specs))
        if len(text) > self._most_bytes:  # it is ASCII; `load` would not take it
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        make_directory(self.path.parent)
        replace_text(self.path, text, self._sync)

    def _lines(self, specs: Iterable[Spec]) -> Iterator[str]:
        before, self._written = self._written, {}
        for spec in specs:
            known, line = before.get(spec.ifname, (None, ""))
            if known is not spec:
                line = _encode_one(spec)
            self._written[spec.ifname] = spec, line
            yield line

    def _set_aside(self, reason: str) -> None:
        aside = self._free_name()
        try:
            self.path.rename(aside)
        except OSError as error:
            _log.error("state file %s %s, and cannot be set aside: %s", self.path, reason, error)
            return
        _log.error("state file %s %s: kept as %s, starting without it", self.path, reason, aside)

    def _free_name(self) -> Path:
        number = 1
        while os.path.lexists(aside := self.path.with_name(f"{FILE_NAME}.damaged-{number}")):
            number += 1
        return aside


@contextlib.contextmanager
def sole_owner(directory: Path, make: Callable[[Path], None] = make_directory) -> Iterator[None]:
    """Hold the directory, making it if need be; two daemons would overwrite each other's state.

    The directory itself is locked, so that this works where nothing can be written. One that
    cannot be used at all is logged, and ignored. `make` makes a directory.

    Raises Busy when another daemon holds it, and InvalidValue when it is no directory.
    """
    try:
        make(directory)
    except NotADirectoryError as error:
        raise InvalidValue(
            f"cannot use the state directory {directory}: {error.strerror}"
        ) from error
    except OSError as error:
        _tell_unusable(directory, error)
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        _tell_unusable(directory, error)
        yield
        return
    try:
        _lock(descriptor, directory)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Busy(
            f"another shaperd uses {directory} (stop it, or choose another --state-dir)"
        ) from error
    except OSError as error:  # not every file system has locks of directories
        _tell_unusable(directory, error)


def _tell_unusable(directory: Path, error: OSError) -> None:
    _log.warning(
        "cannot use the state directory %s (%s): starting without it", directory, error.strerror
    )


def encode(specs: Iterable[Spec]) -> str:
    """Return the text of a state file."""
    return _enclose(map(_encode_one, specs))


def _encode_one(spec: Spec) -> str:
    optional: dict[str, object] = {}
    if not spec.network.is_empty:
        optional["network"] = write_network(spec.network)
    if spec.master_now is not None:
        optional["master_now"] = spec.master_now
    if spec.capture is not Capture.ROUTE:
        optional |= {"capture": spec.capture, "cgroup": spec.cgroup}
    if line := line_syntax.write_line(spec.options.line):
        optional["line"] = line
    if (playback := spec.options.playback) is not None:
        optional["trace"] = write_trace(playback.trace)
        optional["trace_began"] = {"boot": boot_id(), "us": playback.began_us}
    return json.dumps(
        {
            "ifname": spec.ifname,
            "master": spec.master,
            "rate_bits": spec.options.rate_bits,
            "burst_bytes": spec.options.burst_bytes,
            "queue": spec.options.queue,
            "limit_packets": spec.options.limit_packets,
            "hz": spec.options.hz if spec.options.has_own_hz else None,
            **optional,
        }
    )


def _enclose(shapers: Iterable[str]) -> str:
    # A line for each shaper; with a thousand of them json's own indentation takes tenfold.
    lines = ",\n".join(shapers)
    return f'{{"version": {VERSION}, "shapers": [\n{lines}\n]}}\n'


def decode(text: str, boot: str | None = None) -> list[Spec]:
    """Return the shapers of a state file. Raises InvalidValue when it is damaged or newer.

    `boot` tells this start of the machine from others; None: as the kernel tells it.
    """
    try:
        document = json.loads(text)
        version = document["version"]
        check_texts(document, bytes_in=("ifname", "master_now"))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _damaged(error) from error
    if not isinstance(version, int) or version < VERSION:
        raise InvalidValue("is damaged (its version is no number of a version)")
    if version != VERSION:
        raise InvalidValue(f"is of version {version}, and this daemon reads version {VERSION}")
    try:
        boot = boot_id() if boot is None else boot
        specs = [_spec(shaper, boot) for shaper in document["shapers"]]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _damaged(error) from error
    if len({spec.ifname for spec in specs}) != len(specs):
        raise InvalidValue("is damaged (it names a shaper twice)")
    return specs


def _damaged(error: Exception) -> InvalidValue:
    """Return the refusal of a state file, short whatever the file holds."""
    reason = f"{type(error).__name__} {error}" if isinstance(error, KeyError) else str(error)
    return InvalidValue(f"is damaged ({bounds.shortened(reason)})")


def _spec(shaper: dict[str, Any], boot: str) -> Spec:
    master, master_now = shaper["master"], shaper.get("master_now")
    spec = Spec(
        ifname=check_seen_name(shaper["ifname"]),
        master=None if master is None else check_master_name(master),
        options=bounds.change_options(
            Options(rate_bits=_rate_or_zero(shaper["rate_bits"])),
            queue=shaper["queue"],
            limit_packets=_whole_or_none(shaper["limit_packets"]),
            burst_bytes=_whole_or_none(shaper["burst_bytes"]),
            hz=_whole_or_none(shaper["hz"]),
            line=_texts(shaper.get("line", {})),
            trace=shaper.get("trace"),
        ),
        network=_network(shaper["ifname"], shaper.get("network", {})),
        master_now=None if master_now is None else check_seen_name(master_now),
    )
    spec = _going_on(spec, shaper.get("trace_began", {}), boot)
    return captures.with_capture(spec, shaper.get("capture"), shaper.get("cgroup"))


def _going_on(spec: Spec, began: Any, boot: str) -> Spec:
    """Return a shaper whose trace goes on where it was, unless the machine was started since."""
    playback = spec.options.playback
    if playback is None or began.get("boot") != boot:
        return spec
    playback = replace(playback, began_us=_whole(began["us"]))
    return replace(spec, options=replace(spec.options, playback=playback))


def _texts(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise TypeError(f"{bounds.shown(value)} is no link")
    return value


def _rate_or_zero(value: object) -> int:
    """Return a rate within its bounds; 0 says that none was set."""
    rate_bits = _whole(value)
    return bounds.check_rate(rate_bits) if rate_bits else 0


def _network(ifname: str, values: dict[str, Any]) -> Network:
    network = read_network(ifname, values)
    kept: dict[str, Any] = write_network(network)
    for key in ("addresses", "routes", "rules"):
        for line in values.get(key, []):
            if line not in kept[key]:
                _log.warning("%s: %s is not declared any more: it is refused now", ifname, line)
    return network


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidValue(f"{bounds.shown(value)} is not a whole number")
    return value


def _whole_or_none(value: object) -> int | None:
    return None if value is None else _whole(value)

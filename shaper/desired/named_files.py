"""Files that shaper.toml names: traces, distribution tables and loss patterns, read as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shaper.desired import bounds, line_files
from shaper.desired.files import read_text
from shaper.desired.trace_syntax import LOOP, MODES
from shaper.errors import InvalidValue

_TRACE = "trace"
_LINE_KEYS = ("delay", "loss")


def with_content(device: dict[str, Any], *, reads_files: bool) -> dict[str, Any]:
    """Return a table of shaper.toml with the content of files in place of their names.

    Args:
        device: the table.
        reads_files: whether files may be named; a client's text may name none, as the daemon can
            read what the client cannot.

    Raises:
        InvalidValue: naming the file.
    """

    def read(what: str, path: str) -> str:
        if not reads_files:
            raise InvalidValue(
                f"{what} {bounds.shown(path)} is a file's name: only the service's own shaper.toml"
                " may have it (save writes the content)"
            )
        return _read_named(what, path)

    def read_line_file(word: str) -> str:
        return word if line_files.is_content(word) else read("table or pattern", word)

    found = dict(device)
    if _TRACE in device and not _is_trace(device[_TRACE]):
        words = device[_TRACE].rsplit(maxsplit=1)
        is_behind = len(words) > 1 and words[1] in MODES
        path, mode = words if is_behind else (device[_TRACE], LOOP)
        found[_TRACE] = f"{mode}\n{read(_TRACE, path)}"
    for key in _LINE_KEYS:
        if key in device:
            found[key] = line_files.inlined(key, str(device[key]).split(), read_line_file)
    return found


def _is_trace(value: str) -> bool:
    """Whether a value is a trace itself, or none, and no file's name."""
    return "\n" in value or "," in value or value == bounds.NO_TRACE


def _read_named(what: str, path: str) -> str:
    if not path.startswith("/"):
        raise InvalidValue(f"{what} {bounds.shown(path)} is no absolute path (/DIRECTORY/FILE)")
    try:
        return read_text(Path(path))
    except OSError as error:
        raise InvalidValue(f"cannot read the {what} {path}: {error.strerror}") from error
    except InvalidValue as error:
        raise InvalidValue(f"cannot read the {what} {path}: it {error}") from error

"""Files that may be there in any shape: read and replaced without harm.

Reading never waits (a FIFO), never opens a device, and takes in no more than a bounded amount.
Replacing is whole or not at all, follows no symbolic link in the directory, and gives modes that
no umask widens.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable
from functools import cache
from pathlib import Path

from shaper.errors import InvalidValue

# Specified: proc_sys_kernel(5).
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Specified: /dev/null, Documentation/admin-guide/devices.txt.
_NULL_DEVICE = os.makedev(1, 3)

# Chosen.
MAX_FILE_BYTES = 16 << 20  # 4096 shapers with dozens of routes each stay under it
DIRECTORY_MODE = 0o750
_PARENT_MODE = 0o755
_FILE_MODE = 0o600


def read_text(path: Path) -> str:
    """Return a file's text; /dev/null is an empty one.

    Raises OSError (FileNotFoundError where there is none), and InvalidValue for anything but a
    regular file, for more than MAX_FILE_BYTES, and for what is not UTF-8.
    """
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not _is_readable_kind(status):
        raise InvalidValue("is not a regular file")
    # It may have been exchanged since: O_NONBLOCK, so that opening a FIFO would not wait.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not _is_readable_kind(os.fstat(descriptor)):
            raise InvalidValue("is not a regular file")
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise InvalidValue(f"is larger than {MAX_FILE_BYTES >> 20} MiB")
    return _decoded(data)


@cache
def boot_id() -> str:
    """Return what tells this start of the machine from others; its clock begins with it."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _is_readable_kind(status: os.stat_result) -> bool:
    if stat.S_ISCHR(status.st_mode):
        return status.st_rdev == _NULL_DEVICE
    return stat.S_ISREG(status.st_mode)


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidValue(
            f"is not UTF-8 (byte 0x{data[error.start]:02x} at offset {error.start}, line {line})"
        ) from error


def make_directory(path: Path) -> None:
    """Make a directory and those above it, with modes that do not depend on the umask.

    One that exists is left as it is. Raises OSError.
    """
    with contextlib.suppress(FileExistsError):
        _make_one(path, DIRECTORY_MODE)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def _make_one(path: Path, mode: int) -> None:
    try:
        os.mkdir(path, mode)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):
            _make_one(path.parent, _PARENT_MODE)
        os.mkdir(path, mode)
    os.chmod(path, mode)


def replace_text(path: Path, text: str, sync: Callable[[int], None] = os.fsync) -> None:
    """Write a file whole, to the disk, or leave the old one. Raises OSError.

    The directory is opened once, and everything is done in it: what its path leads to may change
    meanwhile. `sync` has what was written to a descriptor reach the disk.
    """
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        temporary = _write_new(directory, f"{path.stem}.new", text, sync)
        try:
            os.replace(temporary, path.name, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError:
            _discard(directory, temporary)
            raise
        sync(directory)
    finally:
        os.close(directory)


def _write_new(directory: int, name: str, text: str, sync: Callable[[int], None]) -> str:
    """Write a file of this name, or of another where this one cannot be had; return its name."""
    name = name if _discard(directory, name) else f"{name}-{secrets.token_hex(8)}"
    # O_EXCL: a symbolic link put there in between is refused, not followed.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, _FILE_MODE, dir_fd=directory)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            sync(descriptor)
    except OSError:
        _discard(directory, name)
        raise
    return name


def _discard(directory: int, name: str) -> bool:
    """Remove a file; tell whether the name is free. A directory of the name stays."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return True
    except OSError as error:
        if isinstance(error, (IsADirectoryError, PermissionError)):
            return False
        raise
    return True

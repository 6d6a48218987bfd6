"""Which names a network device can have, which text is taken, and how either is shown.

The rule is the kernel's (`dev_valid_name` in net/core/dev.c) and a little narrower: a name that
the kernel would complete by itself ("shaper%d") or that cannot be printed or sent as UTF-8 is
refused too, because no message and no command line could name the device again.
"""

from __future__ import annotations

from collections.abc import Container

from shaper.errors import InvalidValue
from shaper.model import ALTIFNAMSIZ, IFNAMSIZ

# Specified by the kernel: one byte of IFNAMSIZ is the NUL.
MAX_NAME_BYTES = IFNAMSIZ - 1
MAX_ALTNAME_BYTES = ALTIFNAMSIZ - 1

# Specified: the path separator, the old alias separator and the kernel's placeholder.
_FORBIDDEN = "/:%"
# Specified by the kernel: in net.ipv4.conf they stand for all devices, and for those to come.
_RESERVED = frozenset(("all", "default"))


def check_name(name: str) -> str:
    """Return `name` if a network device can be called that.

    Raises InvalidValue if not; the message names it and the reason.
    """
    if name in _RESERVED:
        raise InvalidValue(
            f"{name!r} cannot name a network device: the kernel keeps it for its settings"
        )
    return _check(name, MAX_NAME_BYTES)


def check_master_name(name: str) -> str:
    """Return `name` if it can name a device that is there already, altnames included.

    Raises InvalidValue if not.
    """
    return _check(name, MAX_ALTNAME_BYTES)


def check_seen_name(name: str) -> str:
    """Return `name` if the kernel can have told it: a device may be renamed to what we refuse.

    Raises InvalidValue if not.
    """
    data = name.encode(errors="surrogateescape")
    is_named = 0 < len(data) <= MAX_NAME_BYTES and name not in (".", "..")
    if not is_named or any(each in b"/:\0" or bytes((each,)).isspace() for each in data):
        raise InvalidValue(f"{_shown(name)} is no name of a network device")
    return name


def check_texts(value: object, bytes_in: Container[str] = ()) -> None:
    """Refuse text that no file, path or message could bear: with a NUL, or half a character.

    Raises InvalidValue for a text anywhere in tables and lists, their keys included.

    Args:
        value: what was read.
        bytes_in: the keys whose values may have bytes that are no UTF-8, as Python escapes them.
    """
    left: list[tuple[object, object]] = [("", value)]
    while left:
        key, each = left.pop()
        if isinstance(each, dict):
            left += [*(("", inner) for inner in each), *each.items()]
        elif isinstance(each, list | tuple):
            left += [(key, inner) for inner in each]
        elif isinstance(each, str) and (reason := _text_fault(each, key in bytes_in)):
            where = f"{key} = " if key else ""
            raise InvalidValue(f"{where}{_shown(each)} holds {reason}")


def _text_fault(text: str, may_have_bytes: bool) -> str | None:
    if "\0" in text:
        return "a NUL, which ends a text for the kernel"
    try:
        text.encode(errors="surrogateescape" if may_have_bytes else "strict")
    except UnicodeEncodeError:
        return "half a character (a surrogate)"
    return None


def printable(text: str) -> str:
    """Return a text as a terminal may show it: nothing in it moves the cursor.

    The kernel lets devices and groups have any bytes for a name, and files can say anything.
    """
    if text.replace("\n", "").isprintable():
        return text
    return "".join(each if each.isprintable() or each == "\n" else "?" for each in text)


def _check(name: str, max_bytes: int) -> str:
    reason = _fault(name, max_bytes)
    if reason is not None:
        raise InvalidValue(f"{_shown(name)} cannot name a network device: {reason}")
    return name


def _shown(name: str) -> str:
    return repr(name if len(name) <= MAX_ALTNAME_BYTES else f"{name[:MAX_NAME_BYTES]}...")


def _fault(name: str, max_bytes: int) -> str | None:
    """Return why the kernel, or this project, would not take a name; None if it would."""
    if not name:
        return "it is empty"
    if name in (".", ".."):
        return "it is a directory to every program that looks in /sys/class/net"
    if " " in name or not name.isprintable():
        return "blanks and unprintable characters are not allowed"
    forbidden = next((character for character in name if character in _FORBIDDEN), None)
    if forbidden is not None:
        return f"{forbidden!r} is not allowed"
    length_bytes = len(name.encode())
    if length_bytes > max_bytes:
        return f"it has {length_bytes} bytes and the kernel takes at most {max_bytes}"
    return None

"""The constants of the kernel's user-space headers: what #define and enum give a name."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

HEADERS = Path("/usr/include")  # of linux-libc-dev; include/uapi in the kernel's tree
PLATFORM_HEADERS = ("x86_64-linux-gnu", "aarch64-linux-gnu")  # asm/ lies below these

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_CONTINUED = re.compile(r"\\\n")
_DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)[ \t]+(\S.*)$", re.MULTILINE)
_DIRECTIVE = re.compile(r"^[ \t]*#.*$", re.MULTILINE)
_ENUM = re.compile(r"\benum\b\s*\w*\s*\{([^}]*)\}")
_SUFFIX = re.compile(r"\b(0[xX][0-9a-fA-F]+|\d+)[uUlL]+\b")
_CAST = re.compile(r"\(\s*(?:__[us]\d+|__force|unsigned|int|char|long|\s)+\s*\)")
_OCTAL = re.compile(r"\b0(\d+)\b")
_SIZEOF = {"unsigned int": 4, "int": 4, "struct sock_fprog": 16}  # the longer names first
# include/uapi/asm-generic/ioctl.h, where not the platform's own: number, type, size, direction.
_IOCTL_DIRECTIONS = {"_IO": 0, "_IOW": 1, "_IOR": 2, "_IOWR": 3}
_OPERATIONS: Mapping[type[ast.AST], Callable[[int, int], int]] = {
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.LShift: operator.lshift,
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}


@cache
def constants(name: str) -> dict[str, int]:
    """Return the integers of a header by name, as `linux/if.h`; what it includes is not looked at.

    Raises FileNotFoundError.
    """
    text = _COMMENT.sub(" ", _CONTINUED.sub(" ", _path(name).read_text(encoding="utf-8")))
    found: dict[str, int] = {}
    for body in _ENUM.findall(_DIRECTIVE.sub("", text)):
        _enumerate(body, found)
    expressions = {key: value for key, value in _DEFINE.findall(text) if key != value.strip()}
    for key in expressions:
        value = _resolve(expressions[key], {**expressions, **found}, frozenset({key}))
        if value is not None:
            found[key] = value
    return found


def _path(name: str) -> Path:
    folders = (HEADERS, *(HEADERS / each for each in PLATFORM_HEADERS))
    return next((each / name for each in folders if (each / name).exists()), HEADERS / name)


def _enumerate(body: str, found: dict[str, int]) -> None:
    value: int | None = -1
    for entry in filter(None, map(str.strip, body.split(","))):
        name, _, expression = map(str.strip, entry.partition("="))
        if expression:
            value = _resolve(expression, found, frozenset())
        elif value is not None:
            value += 1
        if value is not None:
            found[name] = value


def _resolve(text: str, names: Mapping[str, str | int], seen: frozenset[str]) -> int | None:
    """Return the value of a C expression, or None for one that is no integer constant."""
    text = _CAST.sub("", _SUFFIX.sub(r"\1", text))
    for sized, size in _SIZEOF.items():
        text = re.sub(rf"\b{sized}(?=\s*\))", str(size), text)
    try:
        node = ast.parse(_OCTAL.sub(r"0o\1", text).strip(), mode="eval").body
    except SyntaxError:
        return None
    return _value(node, names, seen)


def _value(node: ast.AST, names: Mapping[str, str | int], seen: frozenset[str]) -> int | None:
    if isinstance(node, ast.Constant):
        return _literal(node.value)
    if isinstance(node, ast.Name):
        return _named(node.id, names, seen)
    if isinstance(node, ast.UnaryOp):
        value = _value(node.operand, names, seen)
        return None if value is None or not isinstance(node.op, ast.USub) else -value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        arguments = [_value(each, names, seen) for each in node.args]
        return _ioctl(node.func.id, [each for each in arguments if each is not None])
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        left, right = _value(node.left, names, seen), _value(node.right, names, seen)
        if left is not None and right is not None:
            return _OPERATIONS[type(node.op)](left, right)
    return None


def _literal(value: object) -> int | None:
    if isinstance(value, str) and len(value) == 1:
        return ord(value)
    return value if isinstance(value, int) else None


def _named(name: str, names: Mapping[str, str | int], seen: frozenset[str]) -> int | None:
    value = names.get(name)
    if name in seen or value is None or isinstance(value, int):
        return None if name in seen else value  # type: ignore[return-value]
    return _resolve(value, names, seen | {name})


def _ioctl(macro: str, arguments: list[int]) -> int | None:
    if macro not in _IOCTL_DIRECTIONS or len(arguments) not in (2, 3):
        return None
    kind, number, size = (*arguments, 0)[:3]
    return _IOCTL_DIRECTIONS[macro] << 30 | size << 16 | kind << 8 | number

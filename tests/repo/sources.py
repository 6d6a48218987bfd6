"""The files of the checkout, and what their modules import."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from bench.lab.namespaces import ROOT

PACKAGES = ("shaper", "shapecfg")


def ignored_patterns() -> list[str]:
    """Return what .gitignore names: what a working checkout may hold beside its files."""
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    return [".git", *(line.rstrip("/") for line in lines)]


def is_ignored(path: Path) -> bool:
    """Whether a file, or a folder it is in, is none of the project's."""
    relative = path.relative_to(ROOT)
    names = [*relative.parts, *(str(each) for each in relative.parents)]
    return any(fnmatch(name, pattern) for name in names for pattern in ignored_patterns())


@cache
def project_files() -> list[Path]:
    """Return every file that belongs to the project."""
    return sorted(path for path in ROOT.rglob("*") if path.is_file() and not is_ignored(path))


@cache
def modules() -> dict[str, Path]:
    """Return the modules of the daemon and the command by their dotted names."""
    found = {}
    for path in project_files():
        parts = path.relative_to(ROOT).with_suffix("").parts
        if path.suffix == ".py" and parts[0] in PACKAGES:
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


@cache
def imports(name: str) -> frozenset[str]:
    """Return what a module imports, wherever it does so: modules of the project in full."""
    tree = ast.parse(modules()[name].read_text(encoding="utf-8"))
    return frozenset(found for node in ast.walk(tree) for found in _named(node))


def _named(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute here, so that they can be read off"
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            yield full if full in modules() else str(node.module)


def is_within(name: str, package: str) -> bool:
    """Whether a module is the package or inside it."""
    return name == package or name.startswith(package + ".")


def is_own(name: str) -> bool:
    """Whether a module is the project's."""
    return name.split(".")[0] in PACKAGES


def is_standard(name: str) -> bool:
    """Whether a module is of Python's standard library."""
    return name.split(".")[0] in sys.stdlib_module_names


def reach(name: str) -> dict[str, str]:
    """Return every module that importing `name` leads to, each with the one that imports it."""
    found: dict[str, str] = {}
    waiting = [name]
    while waiting:
        importer = waiting.pop()
        for target in imports(importer) if importer in modules() else ():
            if target not in found:
                found[target] = importer
                waiting.append(target)
    return found

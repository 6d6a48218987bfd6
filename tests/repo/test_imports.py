"""What one module takes from another is there, in the laboratory and the tests, too."""

from __future__ import annotations

import ast
import importlib
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.lab.namespaces import ROOT
from tests.repo.sources import project_files

OWN = ("bench", "shapecfg", "shaper", "tests")
FILES = [path for path in project_files() if path.relative_to(ROOT).parts[0] in OWN]


@pytest.mark.parametrize(
    "path",
    [each for each in FILES if each.suffix == ".py"],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_every_imported_name_exists(path: Path) -> None:
    """A name that was changed in one file is changed in those that nothing runs, as well."""
    missing = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OWN:
            source = str(node.module)
            module = importlib.import_module(source)
            missing += [
                f"{source}.{each.name}"
                for each in node.names
                if not hasattr(module, each.name) and find_spec(f"{source}.{each.name}") is None
            ]
    assert missing == []

"""A name is borne by one thing, so that a class is found by it and meant by it."""

from __future__ import annotations

import ast
from collections import defaultdict

from bench.lab.namespaces import ROOT
from tests.repo.sources import project_files

# The replies that varlink knows an error by bear the names of the errors that they carry.
CARRIED = "shaper/control/refusals.py"


def classes() -> dict[str, list[str]]:
    """Return in which files a class of each name is defined, replies to errors aside."""
    found = defaultdict(list)
    for path in project_files():
        name = str(path.relative_to(ROOT))
        if path.suffix == ".py" and name != CARRIED:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    found[node.name].append(name)
    return found


def test_no_two_classes_have_one_name() -> None:
    """Whatever file they are in, tests and laboratory included."""
    assert {name: files for name, files in classes().items() if len(files) > 1} == {}

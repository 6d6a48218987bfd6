"""A class has a name of its own, and no more state than can be kept in mind."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator

import pytest

from bench.lab.namespaces import ROOT
from tests.repo.sources import project_files

# The replies that varlink knows an error by bear the names of the errors that they carry.
CARRIED = "shaper/control/refusals.py"

MOST_ATTRIBUTES = 12
# Why a class has more. Records are not counted: they are lists of what they hold.
REASONS = {
    "Connection": "what is read, what is sent and who is answered change together, call by call",
    "Daemon": "what a run is given, what its signals set, and the tasks it waits for",
    "Device": "one shaper as the supervisor has it: each attribute is an aspect or a seen fact",
    "Forwarder": "one process: its channel, its board, and whether it answers",
    "FqCodel": "six are what every queue tells; lists and table are read for each frame",
    "HistoryRig": "a path with every input that a history may change",
    "Loop": "one turn of the forwarder reads all of it; an indirection would cost each frame",
    "MemoryNetlink": "a kernel: each attribute is a table of it, or what a test has it refuse",
    "Path": "both ends are asked for each run; asking another part would cost as much again",
    "Pool": "places, slots and pulses are shared out together, of memory that forwarders share",
    "Supervisor": "it holds the rooms of the daemon together, one attribute a room",
    "Tally": "counters of a path, written to the board at once; it is called for each run",
    "Watcher": "what was heard, what is to be looked at, and the three tables that follow from it",
    "World": "a forwarder and all that it meets, over hours of simulated time",
}


def classes() -> Iterator[tuple[str, ast.ClassDef]]:
    """Yield every class of the project with its file."""
    for path in project_files():
        if path.suffix == ".py":
            name = str(path.relative_to(ROOT))
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    yield name, node


def is_record(node: ast.ClassDef) -> bool:
    """Whether a class is a dataclass, a named tuple or a typed dictionary."""
    marks = [ast.unparse(each) for each in (*node.decorator_list, *node.bases)]
    return any(each.startswith(("dataclass", "NamedTuple", "TypedDict")) for each in marks)


def attributes(node: ast.ClassDef) -> set[str]:
    """Return what the methods of a class assign to `self`."""
    return {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute)
        and isinstance(each.ctx, ast.Store)
        and isinstance(each.value, ast.Name)
        and each.value.id == "self"
    }


def test_no_two_classes_have_one_name() -> None:
    """Whatever file they are in, tests and laboratory included; replies to errors aside."""
    found = defaultdict(list)
    for name, node in classes():
        if name != CARRIED:
            found[node.name].append(name)
    assert {name: files for name, files in found.items() if len(files) > 1} == {}


def test_a_class_of_many_attributes_has_a_reason() -> None:
    """Over twelve are given a reason here, and no reason outlives its need."""
    large = {
        node.name
        for _, node in classes()
        if not is_record(node) and len(attributes(node)) > MOST_ATTRIBUTES
    }
    assert large == set(REASONS)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("class A:\n def f(self):\n  self.a, self.b = 1, 2\n  self.c.d = self.e", 2),
        ("class A:\n def f(self):\n  for self.a in x: self.b += 1\n  y.c = 1", 2),
    ],
)
def test_attributes_are_what_is_assigned(text: str, count: int) -> None:
    """Reading one, or assigning to something else, adds none."""
    (node,) = ast.parse(text).body
    assert isinstance(node, ast.ClassDef)
    assert len(attributes(node)) == count

"""A module is found by its name: no other one has it, in whatever folder."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from bench.lab.namespaces import ROOT
from tests.repo.sources import project_files

CODE = ("bench", "packaging", "shapecfg", "shaper", "tests")
# Names that Python and pytest give a meaning of their own in each folder.
GIVEN = {"__init__", "__main__", "conftest"}
# The laboratory's, beside what they start, count or draw in the daemon.
LABORATORY = {"calls", "daemon", "errors", "flow", "topology"}


def name_of(path: Path) -> str | None:
    """Return the name that a file claims; None if it claims none.

    A package claims the name of its folder, beside those of its modules. A test module is called
    after what it tests, so one for each way of testing it is in its place: without a daemon, with
    real devices, in a container.
    """
    parts = path.relative_to(ROOT).with_suffix("").parts
    if path.suffix != ".py" or parts[0] not in CODE or parts[-1].startswith("test_"):
        return None
    if parts[0] in ("shapecfg", "shaper") and parts[-1] == "__init__":
        return parts[-2]
    return None if parts[-1] in GIVEN else parts[-1]


def doubled(paths: list[Path]) -> dict[str, list[str]]:
    """Return the names that several files claim, with these files."""
    found = defaultdict(list)
    for path in paths:
        if (name := name_of(path)) is not None:
            found[name].append(str(path.relative_to(ROOT)))
    return {name: files for name, files in found.items() if len(files) > 1}


def test_no_two_modules_have_one_name() -> None:
    """In daemon, command and tests; of the laboratory's, those that are listed may be double."""
    for name, files in doubled(project_files()).items():
        others = [each for each in files if not each.startswith("bench/")]
        assert name in LABORATORY, files
        assert len(others) < 2, files


@pytest.mark.parametrize(
    ("names", "is_doubled"),
    [
        (["shaper/desired/plan.py", "shapecfg/run/plan.py"], True),
        (["shaper/kernel/__init__.py", "shaper/testing/kernel.py"], True),
        (["shaper/kernel/__init__.py", "shaper/packet/__init__.py"], False),
        (["tests/unit/test_line.py", "tests/kernel/test_line.py"], False),
        (["tests/unit/line.py", "shaper/discipline/line.py"], True),
        (["docs/plan.md", "shaper/desired/plan.py"], False),
    ],
)
def test_what_counts_as_one_name(names: list[str], is_doubled: bool) -> None:
    """Modules wherever they are, and packages; test modules of one thing do not."""
    assert bool(doubled([ROOT / name for name in names])) == is_doubled

"""What lies where, how long it is, and that it says nothing about the machine it was made on."""

from __future__ import annotations

import importlib
import re

import pytest

from bench.lab.namespaces import ROOT
from tests.repo.sources import is_ignored, project_files

TOP_LEVEL = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "bench",
    "docs",
    "packaging",
    "pyproject.toml",
    "shapecfg",
    "shaper",
    "tests",
}
MAX_LINES = 350
CODE = {".py", ".sh"}
# A folder of somebody's, with something in it.
MACHINE_PATH = re.compile(r"(?<![\w.}])/(?:root|home|work|Users)/[\w.]")
PICTURES = {".png", ".svg"}

BENCHMARKS = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "bench").rglob("*.py"))
    if not path.stem.startswith("__")
]

FILES = [str(path.relative_to(ROOT)) for path in project_files()]


def test_top_level_is_what_the_design_says() -> None:
    """The first look at the repository shows these names and no others."""
    assert {path.name for path in ROOT.iterdir() if not is_ignored(path)} == TOP_LEVEL


@pytest.mark.parametrize("name", [each for each in FILES if (ROOT / each).suffix in CODE])
def test_no_file_is_two_things(name: str) -> None:
    """A file that grew over 350 lines is split by what it does."""
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("name", [each for each in FILES if (ROOT / each).suffix not in PICTURES])
def test_no_path_of_one_machine(name: str) -> None:
    """Nothing names a place that exists only where it was written."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if MACHINE_PATH.search(line)] == []


@pytest.mark.parametrize(
    "text", ["cd /ho" + "me/ann/shaper", 'open("/wo' + 'rk/x")', "/ro" + "ot/.a"]
)
def test_a_path_of_one_machine_is_seen(text: str) -> None:
    """The pattern finds what it is there for."""
    assert MACHINE_PATH.search(text)


@pytest.mark.parametrize("module", BENCHMARKS)
def test_each_module_of_the_benchmark_finds_what_it_imports(module: str) -> None:
    """Some are run by hand only, so nothing else would tell that a name is another now."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("matplotlib", "pandas"):
            raise
        pytest.skip(f"needs {error.name}, of the extra `bench`")

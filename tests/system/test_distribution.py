"""Wheel and sdist: the same bytes each time, and all that a machine needs of them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from bench.lab.namespaces import ROOT
from shaper import __version__
from shaper.shipped import PLACES

pytestmark = pytest.mark.together

MAKER = ROOT / "packaging/distribution.py"
NAMES = (f"shapecfg-{__version__}-py3-none-any.whl", f"shapecfg-{__version__}.tar.gz")
MOMENT = "1700000000"


def build(directory: Path, wheels: Path, umask: int) -> dict[str, str]:
    """Build both with nothing but the wheels; return their digests by name."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": MOMENT}
    environment |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    argv = [sys.executable, str(MAKER), str(directory)]
    subprocess.run(argv, check=True, env=environment, capture_output=True, umask=umask)
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()
    }


@pytest.fixture(scope="module")
def distribution(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Path:
    """Build them once, and once more with other rights, elsewhere."""
    directory = tmp_path_factory.mktemp("distribution")
    first = build(directory, wheels, 0o022)
    second = build(tmp_path_factory.mktemp("again"), wheels, 0o077)
    assert sorted(first) == sorted(NAMES)
    assert first == second
    return directory


def test_the_source_has_what_the_wheel_has(distribution: Path) -> None:
    """Unit, pages and completions are in the sdist as well, so that a wheel can be made of it."""
    with tarfile.open(distribution / NAMES[1]) as archive:
        names = archive.getnames()
    for place in PLACES:
        assert any(f"/shaper/share/{place}" in name for name in names), place


def test_a_wheel_alone_gives_both_commands(
    distribution: Path, wheels: Path, tmp_path: Path
) -> None:
    """In a fresh environment, as pipx makes one, shaperd says where everything lies."""
    programs = tmp_path / "environment/bin"
    venv = [sys.executable, "-m", "venv", "--without-pip", str(programs.parent)]
    subprocess.run(venv, check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", "--quiet"]
    from_wheels = ["--no-index", "--find-links", str(wheels), str(distribution / NAMES[0])]
    subprocess.run([*pip, *from_wheels], check=True, capture_output=True)
    for program in ("shapecfg", "shaperd"):
        argv = [str(programs / program), "--version"]
        done = subprocess.run(argv, check=True, capture_output=True, text=True)
        assert __version__ in done.stdout
    printed = subprocess.run(
        [str(programs / "shaperd"), "--print-unit"], check=True, capture_output=True, text=True
    ).stdout
    assert f"ExecStart={programs / 'shaperd'}\n" in printed
    assert not [line for line in printed.splitlines() if "@PREFIX@" in line and line[0] != "#"]
    comments = [
        line[2:].partition(": ") for line in printed.splitlines() if " belongs into" in line
    ]
    assert len(comments) == len(PLACES)
    assert all(Path(path).exists() for path, _, _ in comments)

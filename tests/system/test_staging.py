"""`make install DESTDIR=...`: a tree that is right once it lies where it will be."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.lab.namespaces import ROOT
from tests.system.installed_machine import make

pytestmark = pytest.mark.together

PREFIX = "/opt/shaping"
UNITS = "usr/local/lib"  # systemd looks nowhere below another prefix

PLACES = {
    "opt/shaping/bin/shapecfg",
    "opt/shaping/sbin/shaperd",
    "opt/shaping/share/bash-completion/completions/shapecfg",
    "opt/shaping/share/fish/vendor_completions.d/shapecfg.fish",
    "opt/shaping/share/man/man5/shaper.toml.5",
    "opt/shaping/share/man/man7/shaper.7",
    "opt/shaping/share/man/man8/shapecfg.8",
    "opt/shaping/share/man/man8/shaperd.8",
    "opt/shaping/share/zsh/site-functions/_shapecfg",
    f"{UNITS}/modules-load.d/shaper.conf",
    f"{UNITS}/systemd/system/shaper-withdraw.service",
    f"{UNITS}/systemd/system/shaper.service",
    f"{UNITS}/sysusers.d/shaper.conf",
    f"{UNITS}/tmpfiles.d/shaper.conf",
}
LINK = re.compile(r"\]\(([\w./-]+)[#)]")  # of another page or file, not of a place elsewhere
OWN_TREES = ("opt/shaping/lib/shaper/", "opt/shaping/share/doc/shaper/")


def try_make(
    target: str, wheels: Path, stage: Path, prefix: str = PREFIX
) -> subprocess.CompletedProcess[str]:
    """Make a target into the staging directory, successfully or not."""
    variables = [f"DESTDIR={stage}", f"PREFIX={prefix}", f"PYTHON={sys.executable}"]
    argv = make(target, str(ROOT), str(wheels), *variables)
    # What is built on the way is built beside it, so that one name finds traces of both.
    environment = {**os.environ, "TMPDIR": str(stage.parent)}
    return subprocess.run(
        argv, env=environment, capture_output=True, encoding="utf-8", check=False
    )


def run_make(target: str, wheels: Path, stage: Path) -> None:
    """Make a target that must succeed."""
    done = try_make(target, wheels, stage)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Path:
    """Install twice into a staging directory: the second time changes nothing, to the byte."""
    if shutil.which("make") is None:
        pytest.skip("needs make")
    directory = tmp_path_factory.mktemp("stage")
    run_make("install", wheels, directory)
    first = digests(directory)
    run_make("install", wheels, directory)
    assert digests(directory) == first
    return directory


def digests(directory: Path) -> dict[str, str]:
    """Return what each file of a tree holds; of compiled ones, which tell their time, nothing."""
    held = {}
    for name in files(directory):
        path = directory / name
        is_telling = path.suffix != ".pyc" and not path.is_symlink()
        held[name] = hashlib.sha256(path.read_bytes()).hexdigest() if is_telling else ""
    return held


def files(directory: Path) -> set[str]:
    """Return the files of a tree, relative to it."""
    found = (path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir())
    return {str(path.relative_to(directory)) for path in found}


def test_files_are_where_they_belong(stage: Path) -> None:
    """Commands below the prefix, units where systemd looks, the rest in two trees of its own."""
    outside = {name for name in files(stage) if not name.startswith(OWN_TREES)}
    assert outside == PLACES


def test_nothing_names_the_staging_directory(stage: Path) -> None:
    """No script, setting or compiled module knows where it was put together."""
    place = str(stage.parent).encode()
    ours = [name for name in files(stage) if not (stage / name).is_symlink()]
    assert [name for name in ours if place in (stage / name).read_bytes()] == []


def test_scripts_run_by_the_interpreter_beside_them(stage: Path) -> None:
    """The first line of each script names the place the interpreter will have."""
    for link in ("bin/shapecfg", "sbin/shaperd"):
        first = (stage / PREFIX[1:] / link).read_text(encoding="utf-8").splitlines()[0]
        assert first == f"#!{PREFIX}/lib/shaper/bin/python3 -I"


def test_unit_starts_the_daemon_below_the_prefix(stage: Path) -> None:
    """No placeholder is left in the unit."""
    unit = (stage / UNITS / "systemd/system/shaper.service").read_text(encoding="utf-8")
    assert f"ExecStart={PREFIX}/sbin/shaperd\n" in unit
    assert f"ExecReload={PREFIX}/sbin/shaperd --check\n" in unit
    assert "PREFIX" not in unit


def test_links_of_the_documents_lead_somewhere(stage: Path) -> None:
    """Every file that an installed page links to is installed, at that place."""
    pages = [*(stage / PREFIX[1:] / "share/doc/shaper").rglob("*.md")]
    links = {
        (page, target)
        for page in pages
        for target in LINK.findall(page.read_text(encoding="utf-8"))
    }
    assert {target for page, target in links if page.name == "README.md"} >= {"docs/design.md"}
    assert [link for link in links if not (link[0].parent / link[1]).exists()] == []


def test_only_what_runs_is_installed(stage: Path) -> None:
    """Neither pip nor setuptools nor anything of the tests is in the environment."""
    (packages,) = (stage / PREFIX[1:]).glob("lib/shaper/lib/python3.*/site-packages")
    present = {path.name for path in packages.iterdir() if not path.name.endswith(".dist-info")}
    assert {"shaper", "shapecfg"} <= present
    assert present.isdisjoint({"pip", "setuptools", "pytest", "tests", "bench"})


def test_uninstall_leaves_nothing(stage: Path, wheels: Path, tmp_path: Path) -> None:
    """Files that were there before stay, and nothing else does."""
    copy = tmp_path / "stage"
    shutil.copytree(stage, copy, symlinks=True)
    (copy / "opt/shaping/bin/other").touch()
    run_make("uninstall", wheels, copy)
    assert files(copy) == {"opt/shaping/bin/other"}


@pytest.mark.parametrize("prefix", ["relative", "/with space", "/with|bar"])
def test_unusable_prefix_is_refused(prefix: str, tmp_path: Path, wheels: Path) -> None:
    """A prefix that a unit file or a first line cannot hold is refused before anything is done."""
    done = try_make("install", wheels, tmp_path, prefix)
    assert (done.returncode, files(tmp_path)) == (2, set())
    assert f"PREFIX={prefix} cannot be used" in done.stderr


def test_directory_of_another_program_is_left_alone(tmp_path: Path, wheels: Path) -> None:
    """A directory $PREFIX/lib/shaper that is no installation of ours is not replaced."""
    precious = tmp_path / PREFIX[1:] / "lib/shaper/precious"
    precious.parent.mkdir(parents=True)
    precious.touch()
    for target, status in (("install", 2), ("uninstall", 0)):
        done = try_make(target, wheels, tmp_path)
        assert done.returncode == status, done.stderr
        assert precious.exists()


def test_without_an_index_it_says_what_to_do(tmp_path: Path) -> None:
    """Where nothing can be fetched, the last lines name the ways out, and nothing is installed."""
    done = try_make("install", tmp_path / "no-wheels", tmp_path / "stage")
    assert done.returncode != 0
    assert "PIP_FIND_LINKS" in done.stderr.partition("could not be fetched")[2]
    assert not (tmp_path / "stage").exists()

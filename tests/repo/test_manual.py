"""The manual pages: made from --help and the guide, whole, and free of warnings."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from bench.lab.namespaces import ROOT
from shapecfg.cli import cli
from shaper.daemon import shaperd
from shaper.model import State

MAKER = ROOT / "packaging/manual"
PAGES = ("man5/shaper.toml.5", "man7/shaper.7", "man8/shapecfg.8", "man8/shaperd.8")
ENVIRONMENT = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000", "LC_ALL": "C.UTF-8"}


@pytest.fixture(scope="module")
def manual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the pages."""
    directory = tmp_path_factory.mktemp("manual")
    subprocess.run([sys.executable, "-B", str(MAKER), str(directory)], check=True, env=ENVIRONMENT)
    return directory


def source(manual: Path, page: str) -> str:
    """Return a page as it is read, apart from fonts and breaks."""
    text = (manual / page).read_text(encoding="ascii")
    for mark in (r"\fB", r"\fI", r"\fR"):
        text = text.replace(mark, "")
    return " ".join(text.replace(r"\-", "-").split())


def test_these_are_the_pages(manual: Path) -> None:
    """Both commands, the file and the matter itself have one; the date is the one asked for."""
    made = [str(each.relative_to(manual)) for each in manual.rglob("*") if each.is_file()]
    assert sorted(made) == sorted(PAGES)
    assert "2023-11-14" in source(manual, PAGES[0])


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    "check",
    [
        ["mandoc", "-T", "lint"],
        ["man", "--warnings", "--encoding=UTF-8", "--ditroff", "--local-file"],
    ],
    ids=["mandoc", "man"],
)
def test_formatters_find_nothing_wrong(manual: Path, page: str, check: list[str]) -> None:
    """Neither mandoc nor groff has a remark."""
    if shutil.which(check[0]) is None:
        pytest.skip(f"needs {check[0]} (packages mandoc, man-db, groff)")
    argv = [*check, str(manual / page)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    remarks = done.stdout if check[0] == "mandoc" else ""
    assert remarks + done.stderr == ""


def test_a_fault_in_a_page_is_found(tmp_path: Path) -> None:
    """The check of the formatters can fail."""
    if shutil.which("mandoc") is None:
        pytest.skip("needs mandoc")
    wrong = tmp_path / "wrong.8"
    wrong.write_text(".TH WRONG 8 2023-11-14 x\n.PP\n.SH NAME\nwrong \\- is it\n.XX\n")
    argv = ["mandoc", "-T", "lint", str(wrong)]
    assert subprocess.run(argv, capture_output=True, text=True, check=False).stdout != ""


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_left_of_the_sources(manual: Path, page: str) -> None:
    """Every include was filled in, and every mark was converted."""
    text = source(manual, page)
    assert [mark for mark in ("{{", "<!--", "**", "](") if mark in text] == []


@pytest.mark.parametrize(("page", "program"), [(PAGES[2], cli), (PAGES[3], shaperd)])
def test_options_are_those_of_help(manual: Path, page: str, program: click.Command) -> None:
    """Each option is there with the words of --help, and so is each command."""
    text = source(manual, page)
    context = click.Context(program, **program.context_settings)
    for parameter in program.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            assert all(" ".join(part.split()) in text for part in record), record
    if isinstance(program, click.Group):
        for name in program.list_commands(context):
            assert f".TP {name} " in text


def test_every_state_is_explained(manual: Path) -> None:
    """shaper(7) has the table of the guide."""
    text = source(manual, "man7/shaper.7")
    assert all(f".TP {state} " in text for state in State)

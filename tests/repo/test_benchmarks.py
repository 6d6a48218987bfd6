"""The document of the benchmarks is what the program makes of the data files beside it."""

from __future__ import annotations

from bench import report, tables
from bench.lab.namespaces import ROOT

DOCUMENT = ROOT / "docs/benchmarks.md"
FOLDER = DOCUMENT.parent / report.FOLDER


def test_nothing_in_it_was_edited() -> None:
    """The same data give the same document, to the byte."""
    plots = [path.stem for path in FOLDER.glob("*.svg")]
    assert DOCUMENT.read_text(encoding="utf-8") == report.document(tables.read(FOLDER), plots)


def test_every_target_is_in_the_data() -> None:
    """Missed or met: each has what was measured beside it."""
    targets = tables.read(FOLDER)["targets"]
    assert len(targets) > 0
    assert not targets.isna().any(axis=None)

"""Documents stay short enough to be read."""

from __future__ import annotations

import pytest

from bench.lab.namespaces import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MOST_WORDS_OF_ALL = 16_000
MOST_WORDS = {
    "README.md": 1900,
    "administration.md": 6200,
    "benchmarks.md": 1600,
    "design.md": 5500,
}
MOST_LINES = {"benchmarks.md": 300}


def words(name: str) -> int:
    """Return the words of a document, as wc(1) counts them."""
    (page,) = (page for page in PAGES if page.name == name)
    return len(page.read_text(encoding="utf-8").split())


@pytest.mark.parametrize("name", sorted(MOST_WORDS))
def test_each_document_is_short(name: str) -> None:
    """None exceeds the words it was given: what is added takes the place of something."""
    assert words(name) <= MOST_WORDS[name]


def test_all_of_them_are_short() -> None:
    """README and docs together can be read in an hour."""
    assert sum(words(page.name) for page in PAGES) < MOST_WORDS_OF_ALL


@pytest.mark.parametrize("name", sorted(MOST_LINES))
def test_the_benchmarks_fit_on_a_few_screens(name: str) -> None:
    """Tables are data files; the document has what decides."""
    (page,) = (page for page in PAGES if page.name == name)
    assert len(page.read_text(encoding="utf-8").splitlines()) <= MOST_LINES[name]

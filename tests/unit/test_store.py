"""The state file comes back as it was written, and a bad one is set aside, never destroyed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.desired.store import Store, decode, encode
from shaper.model import Options, Queue, Spec

SPECS = [
    Spec("shaper0", "eth1", Options(rate_bits=64_000)),
    Spec("shaper1", None, Options(0, 3000, Queue.FIFO, 20, 100)),
]


@given(
    st.lists(
        st.builds(
            Spec,
            st.from_regex(r"[a-z][a-z0-9]{0,14}", fullmatch=True),
            st.none() | st.from_regex(r"[a-z][a-z0-9]{0,14}", fullmatch=True),
            st.builds(
                Options,
                st.just(0) | st.integers(8, 10**15),
                st.none() | st.integers(1, 10**9),
                st.sampled_from(Queue),
                st.none() | st.integers(1, 10**5),
                st.integers(10, 10**5),
            ),
        )
    )
)
def test_round_trip(specs: list[Spec]) -> None:
    """What is encoded is decoded to the same."""
    assert decode(encode(specs)) == specs


def test_saved_and_loaded(tmp_path: Path) -> None:
    """A file that was saved is loaded, and no temporary file stays beside it."""
    store = Store(tmp_path / "made")
    store.save(SPECS)
    assert store.load() == SPECS
    assert [path.name for path in store.path.parent.iterdir()] == ["state.json"]


def test_what_changed_is_written_anew(tmp_path: Path) -> None:
    """One shaper of several changes, goes, comes back or bears another's name: all is as saved."""
    store = Store(tmp_path)
    one, other = SPECS
    swapped = [replace(one, ifname=other.ifname), replace(other, ifname=one.ifname)]
    for specs in (SPECS, [replace(one, master="eth2"), other], [other], SPECS, swapped):
        store.save(specs)
        assert store.load() == specs


def test_no_file_is_no_state(tmp_path: Path) -> None:
    """The first start finds nothing and complains of nothing."""
    assert Store(tmp_path).load() == []


GOOD = encode(SPECS)


@pytest.mark.parametrize(
    "text",
    [
        GOOD[: len(GOOD) // 2],
        "",
        "[]",
        "null",
        '{"version": 1}',
        '{"version": 1, "shapers": [{}]}',
        '{"version": 2, "shapers": []}',
        GOOD.replace("64000", '"64000"'),
        GOOD.replace("64000", "-1"),
        GOOD.replace("shaper0", "a name with blanks"),
        GOOD.replace('"fifo"', '"lifo"'),
    ],
)
def test_a_bad_file_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    """Truncated, damaged or newer: kept whole under another name, told in the log."""
    store = Store(tmp_path)
    store.path.write_text(text)
    assert store.load() == []
    aside = tmp_path / "state.json.damaged-1"
    assert aside.read_text() == text
    assert str(aside) in caplog.text
    store.path.write_text(text)
    store.load()
    assert (tmp_path / "state.json.damaged-2").exists()


def test_bytes_that_are_no_text_are_set_aside(tmp_path: Path) -> None:
    """A file of random bytes is a damaged file like any other."""
    store = Store(tmp_path)
    store.path.write_bytes(b"\xff\xfe\x00")
    assert store.load() == []
    assert (tmp_path / "state.json.damaged-1").read_bytes() == b"\xff\xfe\x00"


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    """Where the new file cannot be written the old one is untouched."""
    store = Store(tmp_path)
    store.save(SPECS)
    before = store.path.read_text()
    store.path.with_suffix(".new").mkdir()
    with pytest.raises(OSError, match="directory"):
        store.save([])
    assert store.path.read_text() == before
    assert json.loads(before)["version"] == 1

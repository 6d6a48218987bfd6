"""The state file comes back as it was written, and a bad one is set aside, never destroyed."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.desired.declared import parse_network
from shaper.desired.ip_route import format_route
from shaper.desired.store import Store, decode, encode, sole_owner
from shaper.errors import InvalidValue
from shaper.model import Capture, Options, Queue, Spec
from tests.unit.test_document import LINE

SPECS = [
    Spec("shaper0", "eth1", Options(rate_bits=64_000)),
    Spec("shaper1", None, Options(0, 3000, Queue.FIFO, 20, 100, has_own_hz=True)),
    Spec("shaper2", "eth1", Options(rate_bits=64_000, line=LINE)),
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
                st.sampled_from([Queue.FIFO, Queue.FQ_CODEL]),
                st.none() | st.integers(1, 10**5),
                st.integers(10, 10**5),
                st.just(True),
            ),
        ),
        unique_by=lambda spec: spec.ifname,
    )
)
def test_round_trip(specs: list[Spec]) -> None:
    """What is encoded is decoded to the same."""
    assert decode(encode(specs)) == specs


def test_a_line_that_is_refused_by_now_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """What an earlier version took beside it stays declared; nothing else is lost."""
    network = parse_network(
        "shaper0", is_up=True, addresses=[], routes=["10.1.0.0/24", "10.2.0.0/24"], rules=[]
    )
    text = encode([replace(SPECS[0], network=network), *SPECS[1:]])
    refused = (
        "10.1.0.0/24",
        "10.2.0.0/24 via 224.0.0.1",
        "10.1.0.0/24 via 10.0.0.9",
        "224.0.0.0/4",
    )
    for line in refused:
        (shaper, *others) = decode(text.replace('"10.2.0.0/24"', f'"{line}"'))
        assert [*map(format_route, shaper.network.routes)] == ["10.1.0.0/24"]
        assert others == SPECS[1:]
    assert all(line in caplog.text for line in refused[1:])


def test_saved_and_loaded(tmp_path: Path) -> None:
    """A file that was saved is loaded, and no temporary file stays beside it."""
    store = Store(tmp_path / "made")
    store.save(SPECS)
    assert store.load() == SPECS
    assert [path.name for path in store.path.parent.iterdir()] == ["state.json"]


def test_what_changed_is_written_anew(tmp_path: Path) -> None:
    """One shaper of several changes, goes, comes back or bears another's name: all is as saved."""
    store = Store(tmp_path)
    one, other, _ = SPECS
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
    """Where the new file cannot be flushed the old one is untouched, and the new one is gone."""
    store = Store(tmp_path)
    store.save(SPECS)
    before = store.path.read_text()

    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        Store(tmp_path, refuse).save([])
    assert store.path.read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_a_daemon_hz_is_not_saved_as_a_shapers(tmp_path: Path) -> None:
    """One for which none was set follows the daemon's at the next start."""
    store = Store(tmp_path)
    store.save([Spec("shaper0", options=Options(hz=100))])
    assert store.load() == [Spec("shaper0")]


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _socket(path: Path) -> None:
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path.name)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


def _full_of_nul(path: Path) -> None:
    path.write_bytes(bytes(100))


def _deep(path: Path) -> None:
    path.write_text('{"version": 1, "shapers": ' + "[" * 200_000)


def _big_number(path: Path) -> None:
    path.write_text(f'{{"version": {"9" * 5000}, "shapers": []}}')


SHAPES: list[Callable[[Path], None]] = [
    _loop,
    _socket,
    _device,
    _huge,
    _full_of_nul,
    _deep,
    _big_number,
    Path.mkdir,
    os.mkfifo,
]


@pytest.mark.parametrize("make", SHAPES, ids=lambda make: make.__name__)
def test_any_shape_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, make: Callable[[Path], None]
) -> None:
    """Whatever lies in the file's place: one short line in the log, and a start without it."""
    store = Store(tmp_path)
    make(store.path)
    assert store.load() == []
    (record,) = caplog.records
    assert len(record.getMessage()) < 300
    assert os.path.lexists(tmp_path / "state.json.damaged-1")
    store.save(SPECS)
    assert store.load() == SPECS


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    """What `state.new` leads to is not touched; a directory of that name is gone around."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    directory = tmp_path / "state"
    directory.mkdir()
    store = Store(directory)
    temporary = directory / "state.new"
    temporary.symlink_to(victim)
    store.save(SPECS)
    temporary.mkdir()
    store.save(SPECS)
    assert victim.read_text() == "precious"
    assert store.load() == SPECS
    assert sorted(path.name for path in directory.iterdir()) == ["state.json", "state.new"]


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    """Neither an open nor a closed umask widens or narrows what is made."""
    for umask in (0, 0o777 & ~0o022):
        before = os.umask(umask)
        try:
            directory = tmp_path / f"over-{umask}" / "state"
            Store(directory).save(SPECS)
        finally:
            os.umask(before)
        modes = [
            stat.S_IMODE(path.stat().st_mode)
            for path in (directory.parent, directory, directory / "state.json")
        ]
        assert modes[:2] == [0o755, 0o750]
        assert modes[2] & 0o077 == 0


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_directory_that_cannot_be_made_is_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    """The daemon starts and says so: traffic must not leave unshaped because of a disk."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with sole_owner(tmp_path / "state", make=refuse):
        assert os.strerror(number) in caplog.text


def test_a_state_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """That is a mistake of the command line, and no fault of the disk."""
    path = tmp_path / "file"
    path.touch()
    for directory in (path, path / "below"):
        with pytest.raises(InvalidValue, match=str(directory)), sole_owner(directory):
            pass


@pytest.mark.parametrize("text", ["/\\u0000", "a\\ud800b", "a\\udcffb"])
def test_text_that_no_path_can_be_is_refused(text: str) -> None:
    """A NUL and half a character, wherever they are but in names of devices."""
    saved = encode([Spec("shaper0", "eth1", capture=Capture.CGROUP, cgroup="/group")])
    with pytest.raises(InvalidValue, match=r"holds (a NUL|half a character)"):
        decode(saved.replace("/group", text))

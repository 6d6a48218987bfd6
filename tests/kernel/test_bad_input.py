"""Commands that cannot be carried out: one sentence, the right status, and nothing changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.topology import MASTER, make_pair
from tests.kernel.conftest import obstacle
from tests.kernel.sentences import assert_refused
from tests.kernel.steps import SHAPER

USAGE, REFUSED, NO_DAEMON = 1, 2, 3
LONG_NAME = "x" * 16

# What is typed, the exit status, and the words the sentence must have.
COMMANDS = [
    ("attach shaper0 nosuch", USAGE, ["nosuch", "no such device", "ip link"]),
    ("attach shaper9 eth1", USAGE, ["shaper9", "no such shaper", "shaper0, shaper1"]),
    ("attach shaper0 shaper0", REFUSED, ["shaper0", "its own master"]),
    ("attach shaper1 eth1", REFUSED, ["shaper1", "already attached to eth1", "detach it first"]),
    ("detach shaper0", REFUSED, ["shaper0", "not attached"]),
    ("detach shaper9", USAGE, ["shaper9", "no such shaper"]),
    ("speed shaper9 1mbit", USAGE, ["shaper9", "no such shaper"]),
    ("show shaper9", USAGE, ["shaper9", "no such shaper"]),
    ("del shaper9", USAGE, ["shaper9", "no such shaper"]),
    ("add shaper0", REFUSED, ["shaper0", "is a shaper already"]),
    ("add eth1", REFUSED, ["eth1", "exists already", "choose another name"]),
    (f"add {LONG_NAME}", USAGE, [LONG_NAME, "16 bytes", "at most 15"]),
    ("add a/b", USAGE, ["a/b", "'/' is not allowed"]),
    ("add shaper%d", USAGE, ["shaper%d", "'%' is not allowed"]),
    (f"attach shaper0 {LONG_NAME}", USAGE, [LONG_NAME, "no such device"]),
    (f"attach shaper0 {'x' * 128}", USAGE, ["128 bytes", "at most 127"]),
    ("attach shaper0 a/b", USAGE, ["a/b", "'/' is not allowed"]),
    ("speed shaper0 0", USAGE, ["'0'", "8"]),
    ("speed shaper0 7", USAGE, ["'7'", "8"]),
    ("speed shaper0 -5", USAGE, ["-5"]),
    ("speed shaper0 nan", USAGE, ["nan"]),
    ("speed shaper0 inf", USAGE, ["inf"]),
    ("speed shaper0 0x10", USAGE, ["0x10"]),
    ("speed shaper0 10m", USAGE, ["10m", "10mbit"]),
    ("speed shaper0 10mbits", USAGE, ["10mbits"]),
    (f"speed shaper0 {10**30}", USAGE, [str(10**30)]),
    ("set shaper0 hz 0", USAGE, ["hz", "0"]),
    ("set shaper0 queue cake", REFUSED, ["cake", "classic", "fifo"]),
    ("set shaper1 burst 1b", REFUSED, ["burst 1b", "1514b"]),
    ("set shaper0 colour blue", USAGE, ["colour", "queue, limit, burst, hz"]),
    ("set shaper0 hz", USAGE, ["hz", "no value"]),
    ("explode shaper0", USAGE, ["explode"]),
    ("attach shaper0", USAGE, ["MASTER"]),
]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shaperd]:
    """Run one daemon with a free shaper0 and an attached shaper1; it ends without a traceback."""
    if (reason := obstacle()) is not None:
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("bad")
    with make_pair() as pair, Shaperd(pair.host, "--shapers", "2", directory=directory) as made:
        made.configure("attach", "shaper1", MASTER)
        made.configure("speed", "shaper1", "1mbit")
        yield made
        assert "Traceback" not in made.log()


@pytest.mark.parametrize(
    ("typed", "status", "words"), COMMANDS, ids=[typed for typed, *_ in COMMANDS]
)
def test_a_command_that_cannot_be_carried_out_is_refused_in_one_sentence(
    daemon: Shaperd, typed: str, status: int, words: list[str]
) -> None:
    """The sentence names the value and what to do, and every shaper is what it was."""
    before = daemon.shapecfg("-d", "show").stdout
    assert_refused(daemon.shapecfg(*typed.split()), status, *words)
    assert daemon.shapecfg("-d", "show").stdout == before


def test_an_empty_name_is_refused(daemon: Shaperd) -> None:
    """A script whose variable is empty hears of it."""
    assert_refused(daemon.shapecfg("attach", "", MASTER), USAGE, "''", "it is empty")


def test_bytes_per_second_are_taken_and_warned_of(daemon: Shaperd) -> None:
    """As with tc, `bps` is bytes; whoever meant bits is told what was understood."""
    done = daemon.shapecfg("speed", SHAPER, "1kbps")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (0, "", 1)
    assert "8Kbit" in done.stderr
    assert daemon.shapecfg("speed", SHAPER).stdout == "8Kbit\n"


@pytest.mark.parametrize("command", ["show", "attach shaper0 eth1"])
def test_without_a_daemon_the_socket_is_named(
    daemon: Shaperd, tmp_path: Path, command: str
) -> None:
    """Status 3, so that a script can tell it from a refusal, and how to start one."""
    path = str(tmp_path / "nobody")
    done = daemon.shapecfg("--socket", path, *command.split())
    assert_refused(done, NO_DAEMON, f"no daemon answers at {path}", "run shaperd")


def test_something_else_at_the_socket_is_no_daemon(daemon: Shaperd, tmp_path: Path) -> None:
    """A plain file where the socket should be gives a sentence too."""
    path = tmp_path / "file"
    path.write_text("", encoding="ascii")
    done = daemon.shapecfg("--socket", str(path), "show")
    assert_refused(done, NO_DAEMON, str(path))

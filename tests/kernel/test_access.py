"""Who may do what at the control socket, and what becomes of those who misbehave there."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.topology import MASTER, Pair
from bench.lab.wait import wait_until
from tests.kernel.sentences import assert_refused
from tests.kernel.somebody import NOBODY, shapecfg_as_nobody
from tests.kernel.steps import SHAPER

REFUSED = 2
SHOW = json.dumps({"method": "org.shaper.Show", "parameters": {}}).encode() + b"\0"
ANSWER_S = 1.0  # what the well-behaved wait at most, whatever others do

GARBAGE = [b"GET / HTTP/1.1\r\n\r\n", b"\xff\xfe", b"", b"[]", b"[" * 50_000]
NONSENSE: list[dict[str, object]] = [
    {},
    {"method": 7},
    {"method": "org.shaper.Explode"},
    {"method": "org.other.Show"},
    {"method": "org.shaper.Show", "parameters": {"ifname": 7}},
    {"method": "org.shaper.SetSpeed", "parameters": {"ifname": SHAPER, "rate_bits": 1.5}},
    {"method": "org.shaper.SetSpeed", "parameters": {"ifname": SHAPER}},
    {"method": "org.shaper.Add", "parameters": {"ifname": "a/b"}},
    {"method": "org.shaper.Add", "parameters": {"ifname": "\ud800"}},
]

# The daemon, but with less patience than the half minute it has.
IMPATIENT = """
from shaper import daemon
from shaper.control import connection
connection.SILENCE_SECONDS = connection.UNREAD_SECONDS = 0.5
daemon.main()
"""

# Somebody with more connections than the daemon has places.
HOG = """
import os, socket, sys
os.setuid(int(sys.argv[2]))
taken = []
for _ in range(300):
    taken.append(socket.socket(socket.AF_UNIX))
    taken[-1].connect(sys.argv[1])
print(len(taken), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """Make a directory that others may enter, as /run/shaper is; those of pytest are private."""
    directory = Path(tempfile.mkdtemp(prefix="shaper-open-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def daemon(pair: Pair, open_directory: Path) -> Iterator[Shaperd]:
    """Run a daemon that everyone can reach; it must end without a traceback."""
    with Shaperd(pair.host, directory=open_directory) as made:
        yield made
        assert "Traceback" not in made.log()


def some_group() -> grp.struct_group:
    """Return a group that neither root nor nobody is in."""
    for group in grp.getgrall():
        if group.gr_gid not in (0, NOBODY, *os.getgroups()):
            return group
    pytest.skip("needs a group that root is not in")


def test_everyone_may_look_and_not_everyone_may_change(pair: Pair, daemon: Shaperd) -> None:
    """`show` works for nobody in particular; each change is refused, and changes nothing."""
    shown = shapecfg_as_nobody(pair.host, daemon, "show")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"{SHAPER}: ")
    for command in (
        f"attach {SHAPER} {MASTER}",
        f"speed {SHAPER} 1mbit",
        f"detach {SHAPER}",
        "add",
        f"del {SHAPER}",
        f"set {SHAPER} hz 100",
    ):
        done = shapecfg_as_nobody(pair.host, daemon, *command.split())
        assert_refused(done, REFUSED, "root and members of group shaper", f"uid {NOBODY}")
    assert shapecfg_as_nobody(pair.host, daemon, "show").stdout == shown.stdout


def test_a_member_of_the_group_may_change(pair: Pair, open_directory: Path) -> None:
    """The group is the one configured, also as a supplementary one."""
    group = some_group()
    config = open_directory / "shaper.toml"
    config.write_text(f'group = "{group.gr_name}"\n', encoding="utf-8")
    with Shaperd(pair.host, "--config", str(config), directory=open_directory) as daemon:
        done = shapecfg_as_nobody(pair.host, daemon, "attach", SHAPER, MASTER)
        assert_refused(done, REFUSED, f"members of group {group.gr_name}")
        done = shapecfg_as_nobody(
            pair.host, daemon, "attach", SHAPER, MASTER, groups=[group.gr_gid]
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert daemon.show(SHAPER)["link"] == MASTER


def test_another_group_is_let_in_when_the_configuration_is_read_again(
    pair: Pair, open_directory: Path
) -> None:
    """The socket of those who may change things is given to the new group, too."""
    group = some_group()
    config = open_directory / "shaper.toml"
    config.write_text('group = "root"\n', encoding="utf-8")
    with Shaperd(pair.host, "--config", str(config), directory=open_directory) as daemon:
        own = daemon.socket.with_name(daemon.socket.name + ".admin")
        assert (own.stat().st_gid, own.stat().st_mode & 0o777) == (0, 0o660)
        config.write_text(f'group = "{group.gr_name}"\n', encoding="utf-8")
        os.kill(daemon.pid, signal.SIGHUP)
        wait_until(lambda: own.stat().st_gid == group.gr_gid, "the socket of the new group")
        assert own.stat().st_mode & 0o777 == 0o660


def test_a_socket_that_may_not_be_opened_is_a_refusal(pair: Pair, daemon: Shaperd) -> None:
    """Not "no daemon": it is there, and the caller is told what to do."""
    daemon.socket.chmod(0o600)
    done = shapecfg_as_nobody(pair.host, daemon, "show")
    assert_refused(done, REFUSED, "no permission", str(daemon.socket), "run as root")


@contextlib.contextmanager
def connection(daemon: Shaperd) -> Iterator[socket.socket]:
    """Connect to the daemon."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        made.connect(str(daemon.socket))  # only a socket that blocks waits for room in the backlog
        made.settimeout(5)
        yield made


def ask(handle: socket.socket) -> dict[str, object]:
    """Ask for the shapers and return the whole answer."""
    handle.sendall(SHOW)
    answer = bytearray()
    while not answer.endswith(b"\0"):
        answer += handle.recv(1 << 16)
    return dict(json.loads(answer[:-1]))


def assert_answered(daemon: Shaperd) -> None:
    """Hold the daemon to answering somebody else at once."""
    start_s = time.monotonic()
    with connection(daemon) as handle:
        assert "shapers" in ask(handle)["parameters"]
    assert time.monotonic() - start_s < ANSWER_S


def is_dropped(handle: socket.socket) -> bool:
    """Whether the daemon ends a connection within the time its socket waits."""
    with contextlib.suppress(ConnectionResetError):
        while handle.recv(1 << 16):
            pass
    return True


def test_garbage_is_dropped(daemon: Shaperd) -> None:
    """Whoever does not speak varlink is hung up on, and others are answered."""
    for garbage in GARBAGE:
        with connection(daemon) as handle:
            handle.sendall(garbage + b"\0")
            assert is_dropped(handle)
        assert_answered(daemon)


def test_a_call_that_makes_no_sense_is_an_error(daemon: Shaperd) -> None:
    """It is answered with an error, and the next call on the same connection is served."""
    with connection(daemon) as handle:
        for call in NONSENSE:
            handle.sendall(json.dumps(call).encode() + b"\0")
            answer = handle.recv(1 << 16)
            assert "error" in json.loads(answer.rstrip(b"\0")), call
            assert "shapers" in ask(handle)["parameters"]


def test_an_endless_line_is_dropped(daemon: Shaperd) -> None:
    """No more of a message is kept than a message may have."""
    with connection(daemon) as handle, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(1200):
            handle.sendall(b"x" * 4096)
        pytest.fail("the daemon took more than 4 MB without an end")
    wait_until(lambda: "a message without an end" in daemon.log(), "the reason in the log")
    assert_answered(daemon)


@contextlib.contextmanager
def impatient(pair: Pair, directory: Path) -> Iterator[Path]:
    """Run a daemon with little patience; return its socket."""
    path = directory / "socket"
    argv = [sys.executable, "-c", IMPATIENT, "--socket", str(path)]
    process = pair.host.popen([*argv, "--state-dir", str(directory)])
    wait_until(path.exists, "the daemon's socket")
    yield path
    assert process.poll() is None


def test_whoever_does_not_read_or_speak_is_dropped(pair: Pair, open_directory: Path) -> None:
    """Half a message, silence, answers left unread; others are answered meanwhile."""
    with impatient(pair, open_directory) as path, contextlib.ExitStack() as stack:
        silent, half, deaf = (stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(3))
        for handle in (silent, half, deaf):
            handle.settimeout(5)
            handle.connect(str(path))
        half.sendall(SHOW[:10])
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            deaf.sendall(SHOW * 5000)
            pytest.fail("the daemon took all it was asked, and was not read")
        assert is_dropped(silent)
        assert is_dropped(half)


def test_nobody_can_take_every_place(pair: Pair, daemon: Shaperd) -> None:
    """One user's idle connections, however many, leave root able to connect."""
    hog = [sys.executable, "-c", HOG, str(daemon.socket), str(NOBODY)]
    process = pair.host.popen(hog, stdin=-1, stdout=-1)
    assert process.stdout is not None
    assert process.stdout.readline() == b"300\n"
    assert_answered(daemon)

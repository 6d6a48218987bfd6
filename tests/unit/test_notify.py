"""The service manager is told what sd_notify(3) specifies, and never in a way that can hurt."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from shaper.supervisor.notify import Notifier, watchdog_interval_ns


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Stand in for the service manager: a bound datagram socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


@pytest.fixture
def notifier(manager: socket.socket) -> Notifier:
    """Return a notifier that talks to the manager."""
    return Notifier({"NOTIFY_SOCKET": manager.getsockname()})


def test_every_message_is_spelled_as_specified(manager: socket.socket, notifier: Notifier) -> None:
    """Each call is one datagram of the documented variables."""
    notifier.ready("2 shapers")
    notifier.status("1 shaper")
    notifier.watchdog()
    notifier.reloading(123456)
    notifier.stopping()
    notifier.extend(20_000_000)
    assert [manager.recv(256) for _ in range(6)] == [
        b"READY=1\nSTATUS=2 shapers",
        b"STATUS=1 shaper",
        b"WATCHDOG=1",
        b"RELOADING=1\nMONOTONIC_USEC=123456",
        b"STOPPING=1",
        b"EXTEND_TIMEOUT_USEC=20000000",
    ]


def test_a_status_that_stays_the_same_is_told_once(
    manager: socket.socket, notifier: Notifier
) -> None:
    """Whoever looks every few seconds may tell every time, also what `ready` has told."""
    notifier.ready("2 shapers")
    for text in ("2 shapers", "1 shaper", "1 shaper", "2 shapers"):
        notifier.status(text)
    told = [manager.recv(256) for _ in range(3)]
    assert told == [b"READY=1\nSTATUS=2 shapers", b"STATUS=1 shaper", b"STATUS=2 shapers"]
    with pytest.raises(BlockingIOError):
        manager.recv(256)


def test_an_abstract_socket_is_reached() -> None:
    """A name that starts with @ is an address in the abstract namespace."""
    name = f"shaper-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(b"\0" + name.encode())
        Notifier({"NOTIFY_SOCKET": "@" + name}).watchdog()
        assert listener.recv(256, socket.MSG_DONTWAIT) == b"WATCHDOG=1"


def test_a_status_cannot_carry_another_variable(
    manager: socket.socket, notifier: Notifier
) -> None:
    """A line break in the text does not become a message of its own."""
    notifier.status("bad value\nMAINPID=1")
    assert manager.recv(256) == b"STATUS=bad value MAINPID=1"


def test_without_a_manager_nothing_is_sent(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mapping given decides, not the process's own environment."""
    monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
    Notifier({}).ready("unheard")
    with pytest.raises(BlockingIOError):
        manager.recv(256)


def test_a_manager_that_went_away_is_no_error(tmp_path: Path) -> None:
    """A socket that is gone costs nothing and raises nothing."""
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).watchdog()


def test_a_manager_that_never_reads_does_not_block(
    manager: socket.socket, notifier: Notifier
) -> None:
    """A full socket loses the message; the daemon goes on. What was queued stays readable."""
    for _ in range(10_000):
        notifier.watchdog()
    assert manager.recv(256) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    ("environ", "interval_ns"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "20000000"}, 5_000_000_000),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}, 5_000_000_000),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
    ],
)
def test_watchdog_interval(environ: dict[str, str], interval_ns: int | None) -> None:
    """Four reports in the time systemd allows; None when it asks nothing of this process."""
    assert watchdog_interval_ns(environ) == interval_ns


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """Let the kernel refuse this process any further descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_a_descriptor_nothing_is_told_and_nothing_fails(
    manager: socket.socket, notifier: Notifier
) -> None:
    """A daemon that has run out of them goes on, and tells its status when it has one."""
    with no_descriptors():
        notifier.status("1 shaper")
        notifier.watchdog()
        assert not notifier.store("shaper0", 0)
    notifier.status("1 shaper")
    notifier.status("1 shaper")
    assert manager.recv(256) == b"STATUS=1 shaper"
    with pytest.raises(BlockingIOError):
        manager.recv(256)

"""What the service manager keeps over a restart is asked for by name, and else given up."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from shaper.supervisor.keepsakes import NOTHING_KEPT, Keepsakes
from shaper.supervisor.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A service manager's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(2)
        yield sock


def keepsakes(manager: socket.socket, **found: int) -> Keepsakes:
    """Return what was found, with a manager that keeps."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    return Keepsakes(notifier, dict(found), is_kept=True)


def test_a_descriptor_is_sent_with_its_name(manager: socket.socket) -> None:
    """As sd_notify(3) says; and taken back by its name."""
    kept = keepsakes(manager)
    reading, writing = os.pipe()
    kept.put("tap-7", writing)
    os.close(writing)
    message, (received,), _, _ = socket.recv_fds(manager, 4096, 4)
    assert sorted(message.decode().split("\n")) == ["FDNAME=tap-7", "FDPOLL=0", "FDSTORE=1"]
    os.write(received, b"it is the same")
    assert os.read(reading, 100) == b"it is the same"
    os.close(received)
    os.close(reading)
    kept.drop("tap-7")
    assert manager.recv(4096) == b"FDSTOREREMOVE=1\nFDNAME=tap-7"


def test_what_nobody_takes_is_given_up(manager: socket.socket) -> None:
    """It is closed, and the manager told to close it too."""
    reading, writing = os.pipe()
    kept = keepsakes(manager, **{"tap-1": reading, "tap-2": writing})
    assert sorted(kept.names("tap-")) == ["tap-1", "tap-2"]
    assert kept.take("tap-2") == writing
    assert kept.take("tap-2") is None
    kept.give_up_the_rest()
    assert manager.recv(4096) == b"FDSTOREREMOVE=1\nFDNAME=tap-1"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reading)
    os.close(writing)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"NOTIFY_SOCKET": "/run/x"},
        {"FDSTORE": "0", "NOTIFY_SOCKET": "/run/x"},
        {"FDSTORE": "64"},
        {"LISTEN_FDS": "2", "LISTEN_PID": "1", "LISTEN_FDNAMES": "tap-1:tap-2"},
        {"LISTEN_FDS": "-1", "LISTEN_PID": str(os.getpid())},
    ],
)
def test_without_a_manager_that_keeps_nothing_is_kept(environ: dict[str, str]) -> None:
    """Nor is anything taken that was meant for another process."""
    kept = Keepsakes.open(Notifier({}), environ)
    assert not kept.is_kept
    assert kept.names("") == []


def test_either_word_of_a_store_is_believed() -> None:
    """Of systemd itself from version 254 on, and of our unit for those before."""
    for name in ("FDSTORE", "SHAPER_FDSTORE"):
        environ = {name: "16384", "NOTIFY_SOCKET": "/nowhere"}
        assert Keepsakes.open(Notifier({}), environ).is_kept


def test_nothing_kept_does_nothing() -> None:
    """The default of whoever runs without a service manager."""
    NOTHING_KEPT.put("tap-1", 0)
    NOTHING_KEPT.drop("tap-1")
    assert NOTHING_KEPT.take("tap-1") is None

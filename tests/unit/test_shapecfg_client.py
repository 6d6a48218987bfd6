"""The client: what it sends, what it reads, and the sentence for everything that goes wrong."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shapecfg.client import EXIT_NO_DAEMON, EXIT_REFUSED, EXIT_USAGE, CallError, Client
from tests.unit.fake_daemon import SHAPER, FakeDaemon, answer, refusal, shaper


def failure(
    path: Path | str,
    timeout_seconds: float = 5.0,
    make_socket: Callable[[int, int], socket.socket] = socket.socket,
) -> tuple[str, int]:
    """Ask for the shapers at a socket that will not give them; return sentence and status."""
    client = Client(str(path), timeout_seconds=timeout_seconds, make_socket=make_socket)
    with pytest.raises(CallError) as failed:
        client.show()
    return str(failed.value), failed.value.exit_status


@pytest.mark.parametrize(
    ("call", "request_sent", "answered"),
    [
        (
            lambda client: client.attach("shaper0", "eth1"),
            {"method": "Attach", "parameters": {"ifname": "shaper0", "master": "eth1"}},
            {"warnings": ["rp_filter"]},
        ),
        (
            lambda client: client.set_speed("shaper0", 64000),
            {"method": "SetSpeed", "parameters": {"ifname": "shaper0", "rate_bits": 64000}},
            {"warnings": []},
        ),
        (
            lambda client: client.set_options("shaper0", {"queue": "classic", "hz": 100}),
            {
                "method": "SetOptions",
                "parameters": {"ifname": "shaper0", "queue": "classic", "hz": 100},
            },
            {"warnings": ["coarse"]},
        ),
        (
            lambda client: client.detach("shaper0"),
            {"method": "Detach", "parameters": {"ifname": "shaper0"}},
            {"warnings": ["not saved"]},
        ),
        (
            lambda client: client.delete("shaper0"),
            {"method": "Delete", "parameters": {"ifname": "shaper0"}},
            {"warnings": []},
        ),
        (
            lambda client: client.show("shaper0"),
            {"method": "Show", "parameters": {"ifname": "shaper0"}},
            {"shapers": [SHAPER]},
        ),
        (
            lambda client: client.show(),
            {"method": "Show", "parameters": {}},
            {"shapers": []},
        ),
    ],
)
def test_call_is_sent_and_its_answer_returned(
    tmp_path: Path,
    call: Callable[[Client], object],
    request_sent: dict[str, Any],
    answered: dict[str, Any],
) -> None:
    """Each call is one request, null parameters left out, and returns what was answered."""
    with FakeDaemon(tmp_path / "socket", answer(**answered)) as daemon:
        returned = call(Client(daemon.path))
    assert daemon.requests == [{**request_sent, "method": f"org.shaper.{request_sent['method']}"}]
    assert [returned] == list(answered.values())


@pytest.mark.parametrize("ifname", [None, "shaper3"])
def test_added_is_named_and_warned_of(tmp_path: Path, ifname: str | None) -> None:
    """Add tells the name, which the daemon may have chosen, and the warnings beside it."""
    answered = {"ifname": "shaper3", "warnings": ["not saved"]}
    with FakeDaemon(tmp_path / "socket", answer(**answered)) as daemon:
        assert Client(daemon.path).add(ifname) == answered
    given = {} if ifname is None else {"ifname": ifname}
    assert daemon.requests == [{"method": "org.shaper.Add", "parameters": given}]


def test_answer_in_pieces_is_put_together(tmp_path: Path) -> None:
    """An answer longer than any receive buffer is read to its end."""
    shapers = [shaper(ifname=f"shaper{number}") for number in range(500)]
    with FakeDaemon(tmp_path / "socket", answer(shapers=shapers)) as daemon:
        assert Client(daemon.path).show() == shapers


def test_keys_are_the_documented_ones_in_their_order(tmp_path: Path) -> None:
    """A null may be left out by the daemon, keys may come in any order, newer ones are dropped."""
    sent = {**dict(reversed(shaper(link=None).items())), "newer": 1}
    del sent["link"]
    with FakeDaemon(tmp_path / "socket", answer(shapers=[sent])) as daemon:
        [read] = Client(daemon.path).show()
    assert json.dumps(read) == json.dumps(shaper(link=None))


@pytest.mark.parametrize(
    ("error", "exit_status"),
    [
        ("NoSuchShaper", EXIT_USAGE),
        ("NoSuchMaster", EXIT_USAGE),
        ("Busy", EXIT_REFUSED),
        ("NotAttached", EXIT_REFUSED),
        ("InvalidValue", EXIT_REFUSED),
        ("NotPermitted", EXIT_REFUSED),
        ("KernelRefused", EXIT_REFUSED),
        ("OfALaterVersion", EXIT_REFUSED),
    ],
)
def test_refusal_is_passed_on_word_for_word(tmp_path: Path, error: str, exit_status: int) -> None:
    """The daemon's sentence is not touched; only what does not exist is the user's mistake."""
    sentence = "shaper0 is already attached to eth1 (detach it first)"
    with FakeDaemon(tmp_path / "socket", refusal(f"org.shaper.{error}", sentence)) as daemon:
        assert failure(daemon.path) == (sentence, exit_status)


@pytest.mark.parametrize(
    "error", ["InterfaceNotFound", "MethodNotFound", "MethodNotImplemented", "InvalidParameter"]
)
def test_daemon_of_another_version_is_told(tmp_path: Path, error: str) -> None:
    """An error of the protocol itself means that the two programs do not fit."""
    name = f"org.varlink.service.{error}"
    with FakeDaemon(tmp_path / "socket", refusal(name)) as daemon:
        assert failure(daemon.path) == (
            f"the daemon at {daemon.path} answers Show with {name}: "
            "it is of another version than this shapecfg, restart it",
            EXIT_NO_DAEMON,
        )


def test_permission_denied_by_the_protocol_is_a_refusal(tmp_path: Path) -> None:
    """Permission is no matter of versions, whichever interface names it."""
    denied = refusal("org.varlink.service.PermissionDenied")
    with FakeDaemon(tmp_path / "socket", denied) as daemon:
        assert failure(daemon.path) == (
            f"no permission for Show at {daemon.path}: run as root",
            EXIT_REFUSED,
        )


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0",
        b"HTTP/1.1 400 Bad Request\r\n\r\n\0",
        b"\xff\xfe\0",
        b"[]\0",
        b"null\0",
        b"[" * 100_000 + b"\0",
        b'{"parameters": [1]}\0',
        b'{"error": 5}\0',
        b'{"error": "org.shaper.Busy"}\0',
        b'{"error": "org.shaper.Busy", "parameters": {"message": 5}}\0',
        b"{}\0",
        answer(shapers=None),
        answer(shapers=["shaper0"]),
        answer(shapers=[{}]),
        answer(shapers=[shaper(mtu="1500")]),
        answer(shapers=[shaper(options={"rate_bits": None})]),
        answer(shapers=[shaper(stats={"dropped": {"full": "3"}})]),
        answer(shapers=[shaper(warnings=[None])]),
    ],
)
def test_garbage_is_one_sentence(tmp_path: Path, garbage: bytes) -> None:
    """Whatever comes back, if it is not the documented answer, the socket is named."""
    with FakeDaemon(tmp_path / "socket", garbage) as daemon:
        assert failure(daemon.path) == (
            f"what answers at {daemon.path} is not the daemon this shapecfg knows: "
            "check --socket, or restart shaperd after an upgrade",
            EXIT_NO_DAEMON,
        )


def test_endless_answer_is_given_up(tmp_path: Path) -> None:
    """Memory is bounded: an answer that grows past 16 MiB is garbage."""
    with FakeDaemon(tmp_path / "socket", b"x" * (17 << 20)) as daemon:
        sentence, exit_status = failure(daemon.path)
    assert "is not the daemon this shapecfg knows" in sentence
    assert exit_status == EXIT_NO_DAEMON


@pytest.mark.parametrize("half", [b"", b'{"parameters": {'])
def test_hanging_up_is_told(tmp_path: Path, half: bytes) -> None:
    """A daemon that died over the call is not one that is absent."""
    with FakeDaemon(tmp_path / "socket", half) as daemon:
        assert failure(daemon.path) == (
            f"the daemon at {daemon.path} hung up without an answer: "
            "look at 'journalctl -u shaper'",
            EXIT_NO_DAEMON,
        )


@pytest.mark.parametrize("half", [b"", b'{"parameters": {'])
def test_silence_is_given_up(tmp_path: Path, half: bytes) -> None:
    """A daemon that does not answer, or not to the end, is waited for no longer than said."""
    with FakeDaemon(tmp_path / "socket", half, is_silent=True) as daemon:
        assert failure(daemon.path, timeout_seconds=0.01) == (
            f"the daemon at {daemon.path} did not answer within 0.01 s: "
            "look at 'systemctl status shaper'",
            EXIT_NO_DAEMON,
        )


def test_deadline_is_that_of_the_whole_call(tmp_path: Path) -> None:
    """Sending a byte now and then does not hold the client."""
    with FakeDaemon(tmp_path / "socket", b"{", pause_seconds=0.005) as daemon:
        sentence, _ = failure(daemon.path, timeout_seconds=0.03)
    assert "did not answer within 0.03 s" in sentence


@contextlib.contextmanager
def full_backlog(path: Path) -> Iterator[socket.socket]:
    """Listen without accepting, and let as many wait as there is room for."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        listener.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(str(path))
        yield listener


def test_crowd_before_the_daemon_is_told(tmp_path: Path) -> None:
    """Where too many wait to be taken in, the daemon is there: the advice is to try again."""
    path = tmp_path / "socket"
    with full_backlog(path):
        assert failure(path, timeout_seconds=0.01) == (
            f"too many clients wait for the daemon at {path}, "
            "and none was taken within 0.01 s: try again",
            EXIT_NO_DAEMON,
        )


def test_crowd_before_the_daemon_is_waited_for(tmp_path: Path) -> None:
    """As soon as the daemon takes one in there is room for the next, who is answered."""
    path = tmp_path / "socket"
    with full_backlog(path) as listener:

        def answer_the_last() -> None:
            listener.accept()[0].close()
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer(shapers=[]))

        thread = threading.Thread(target=answer_the_last)
        thread.start()
        assert Client(str(path)).show() == []
        thread.join()


def test_absent_daemon_is_told_with_what_to_do(tmp_path: Path) -> None:
    """Without a socket the sentence names it and both ways to get a daemon."""
    path = tmp_path / "absent"
    assert failure(path) == (
        f"no daemon answers at {path} (No such file or directory): "
        "start it with 'systemctl start shaper', or run shaperd",
        EXIT_NO_DAEMON,
    )


def test_socket_left_behind_is_an_absent_daemon(tmp_path: Path) -> None:
    """A socket nobody listens on refuses the connection."""
    path = tmp_path / "left"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    sentence, exit_status = failure(path)
    assert sentence.startswith(f"no daemon answers at {path} (Connection refused): start it")
    assert exit_status == EXIT_NO_DAEMON


def test_path_too_long_for_a_socket_is_told(tmp_path: Path) -> None:
    """The reason is given even where the kernel was not asked."""
    sentence, exit_status = failure(tmp_path / ("x" * 200))
    assert "(AF_UNIX path too long)" in sentence
    assert exit_status == EXIT_NO_DAEMON


def test_forbidden_socket_is_a_refusal(tmp_path: Path) -> None:
    """Without permission to connect there is no point in starting another daemon."""

    class Forbidden(socket.socket):
        def connect(self, address: object) -> None:
            raise PermissionError(13, "Permission denied")

    path = tmp_path / "socket"
    assert failure(path, make_socket=Forbidden) == (
        f"no permission to use {path}: run as root, or correct the socket's mode",
        EXIT_REFUSED,
    )


def test_hanging_up_before_the_request_is_told(tmp_path: Path) -> None:
    """A connection closed at once breaks the pipe under the request, not the client."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        is_closed = threading.Event()

        class Awaiting(socket.socket):
            def sendall(self, *arguments: Any) -> None:
                is_closed.wait(5)
                super().sendall(*arguments)

        def close_at_once() -> None:
            listener.accept()[0].close()
            is_closed.set()

        thread = threading.Thread(target=close_at_once)
        thread.start()
        sentence, exit_status = failure(path, make_socket=Awaiting)
        thread.join()
    assert "hung up without an answer" in sentence
    assert exit_status == EXIT_NO_DAEMON

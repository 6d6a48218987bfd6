"""A daemon for the tests of `shapecfg`: a real Unix socket, answers written in advance.

It serves one connection after the other from a thread, keeps every request and answers each with
the same bytes. It ends with the context, whatever the client did.
"""

from __future__ import annotations

import contextlib
import copy
import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

SHAPER: dict[str, Any] = {
    "ifname": "shaper0",
    "ifindex": 7,
    "link": "eth1",
    "capture": "route",
    "cgroup": None,
    "state": "active",
    "operstate": "UP",
    "mtu": 1500,
    "options": {
        "rate_bits": 64000,
        "burst_bytes": 1514,
        "queue": "fifo",
        "limit_packets": 10,
        "hz": 1000,
        "line": {},
        "trace": None,
    },
    "stats": {
        "sent_bytes": 123456,
        "sent_packets": 98,
        "dropped": {"full": 3, "detached": 0},
        "overlimits": 41,
        "backlog_bytes": 3028,
        "backlog_packets": 2,
        "ecn_marks": 0,
        "flows": 0,
        "delay_ns": None,
        "delay_p99_ns": None,
        "achieved_bits": 63990,
        "busy_ns": 10_000_000_000,
        "busy_bytes": 79_987,
        "lately_bits": None,
        "lately_packets": 0,
        "worst_bits": None,
        "achieved_since": None,
        "altered": {"duplicated": 0},
        "lately_burst_bytes": None,
        "worst_burst_bytes": None,
        "total_burst_bytes": None,
        "worst_delay_p99_ns": None,
        "total_delay_p99_ns": None,
    },
    "warnings": [],
    "alarms": [],
    "findings": [],
}


def shaper(**changes: Any) -> dict[str, Any]:
    """Return the shaper above with some of its keys changed; those of dicts are merged."""
    changed = copy.deepcopy(SHAPER)
    for key, value in changes.items():
        if isinstance(value, dict):
            changed[key].update(value)
        else:
            changed[key] = value
    return changed


def answer(**parameters: Any) -> bytes:
    """Return what a daemon sends that did as it was asked."""
    return json.dumps({"parameters": parameters}).encode() + b"\0"


def refusal(error: str, message: str | None = None) -> bytes:
    """Return what a daemon sends that did not; `error` with its interface."""
    parameters = {} if message is None else {"message": message, "errno": 22}
    return json.dumps({"error": error, "parameters": parameters}).encode() + b"\0"


class FakeDaemon:
    """Answers at `path` with `answer`, then hangs up, or keeps silent until the client does.

    Args:
        path: of the socket.
        answer: to every request.
        is_silent: keep silent.
        pause_seconds: answer the same again after so long, until the client hangs up.
        then: called after each answer.
    """

    def __init__(
        self,
        path: Path,
        answer: bytes,
        *,
        is_silent: bool = False,
        pause_seconds: float | None = None,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        self._pause_seconds = pause_seconds
        self._then = then
        self.path = str(path)
        self.requests: list[dict[str, Any]] = []
        self._answer = answer
        self._is_silent = is_silent
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> FakeDaemon:
        self._listener.bind(self.path)
        self._listener.listen()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # shut down: the test is over
            with connection, contextlib.suppress(ConnectionError):
                self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        request = bytearray()
        while not request.endswith(b"\0"):
            received = connection.recv(4096)
            if not received:
                return
            request += received
        self.requests.append(json.loads(request[:-1]))
        connection.sendall(self._answer)
        self._then()
        while self._pause_seconds is not None:
            time.sleep(self._pause_seconds)
            connection.sendall(self._answer)
        if self._is_silent:
            connection.recv(1)

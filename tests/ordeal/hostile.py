"""Clients that wish the daemon ill: `hostile.py KIND SOCKET UID CLIENTS SECONDS`.

A process plays so many clients of one kind as one user, without ever pausing, and prints one JSON
object: how many messages the daemon has dealt with (answered, or hung up on), and, of the kind
`show`, how long each answer took. The kinds are those of `KINDS`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator
from itertools import cycle

SHOW = b'{"method":"org.shaper.Show","parameters":{}}\0'
SPEED = b'{"method":"org.shaper.SetSpeed","parameters":{"ifname":"shaper0","rate_bits":%s}}\0'
NUMBERS = [b"1e999", b"NaN", b"-1", b"true", b"1.5", b"9" * 3000, b"[]", b"-Infinity", b"null"]
GARBAGE = [
    *(SPEED % number for number in NUMBERS),
    b'{"method":"org.shaper.Show","parameters":{"ifname":"\\ud800"}}\0',
    b'{"method":"org.shaper.Explode"}\0',
    b'{"method":"org.other.Show"}\0',
    b'{"method":7}\0',
    b"{}\0",
    b'{"method":"org.shaper.Add","parameters":{"ifname":' + b"[" * 3000 + b"\0",
    b"\xff\xfe\0",
    b"[" * 3000 + b"\0",
    b"9" * 4000 + b"\0",
    b"x" * 100_000,
    b'{"method":"org.shaper.',
]
POLITE = [each for each in GARBAGE if each.startswith(b"{") and each.endswith(b"}\0")]
DESCRIPTORS = 250  # with each message; SCM_MAX_FD is 253
_PAUSE_S = 0.02  # between two questions of a client that is not hostile


class HostileClient:
    """One hostile client: what it sends over and over, and whether it reads."""

    def __init__(self, path: str, kind: str, number: int) -> None:
        self._path = path
        self._kind = kind
        sent = {"asking": [SHOW], "deaf": [b"{}\0", SHOW], "polite": POLITE}.get(kind, GARBAGE)
        self._messages = cycle(sent[number % len(sent) :] + sent[: number % len(sent)])
        self._left = b""
        self._reads = kind != "deaf"
        self.dealt_with = 0
        self._socket: socket.socket | None = None

    def turn(self) -> None:
        """Do what can be done without waiting."""
        try:
            if self._socket is None:
                self._connect()
            elif self._kind == "coming":
                self._leave()
            else:
                self._send()
                self._read()
        except BlockingIOError:
            pass
        except OSError:
            self.dealt_with += 1
            self._leave()

    def _connect(self) -> None:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.setblocking(False)
        try:
            made.connect(self._path)
        except OSError:
            made.close()
            raise BlockingIOError from None
        self._socket, self._left = made, b""

    def _leave(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _send(self) -> None:
        assert self._socket is not None
        with contextlib.suppress(BlockingIOError):
            for _ in range(16):
                self._left = self._left or next(self._messages)
                if self._kind == "giving":
                    sent = socket.send_fds(self._socket, [self._left], [2] * DESCRIPTORS)
                else:
                    sent = self._socket.send(self._left)
                self._left = self._left[sent:]

    def _read(self) -> None:
        assert self._socket is not None
        while self._reads:
            received = self._socket.recv(1 << 18)
            if not received:
                raise ConnectionResetError
            self.dealt_with += received.count(b"\0")


KINDS = ("asking", "deaf", "garbage", "giving", "coming")


def attack(path: str, kind: str, clients: int, seconds: float) -> dict[str, object]:
    """Play so many clients for a while; return how many messages were dealt with."""
    crowd = [HostileClient(path, kind, number) for number in range(clients)]
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for client in crowd:
            client.turn()
    return {"dealt_with": sum(client.dealt_with for client in crowd)}


def questions(path: str, seconds: float) -> Iterator[float]:
    """Ask for all shapers again and again, as shapecfg does; yield the seconds each took."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        start = time.monotonic()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            # The kernel waits for room in the backlog only where the socket may block.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 30, 0))
            client.connect(f"{path}.admin" if os.geteuid() == 0 else path)  # as shapecfg does
            client.settimeout(30)
            client.sendall(SHOW)
            answer = b""
            while not answer.endswith(b"\0"):
                received = client.recv(1 << 18)
                if not received:
                    raise ConnectionResetError("hung up on a question")
                answer += received
        yield time.monotonic() - start
        time.sleep(_PAUSE_S)


def main() -> None:
    """Become the user, and play."""
    kind, path, uid, clients, seconds = sys.argv[1:]
    os.setgroups([])
    os.setresgid(int(uid), int(uid), int(uid))
    os.setresuid(int(uid), int(uid), int(uid))
    if kind == "show":
        print(json.dumps({"waits_s": list(questions(path, float(seconds)))}))
    else:
        print(json.dumps(attack(path, kind, int(clients), float(seconds))))


if __name__ == "__main__":
    main()

"""Clients that wish the daemon ill: `hostile.py KIND SOCKET UID CLIENTS SECONDS`.

A process plays so many clients of one kind as one user, without ever pausing, and prints one JSON
object: how many messages the daemon has dealt with (answered, or hung up on), and, of the kind
`show`, how long each answer took. The kinds are those of `KINDS`.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import sys
import time
from collections import deque
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
_AGAIN_S = 0.001  # between two attempts of a client that finds no room
_TIMES = 20  # that what is sent is repeated in one piece


class HostileClient:
    """One hostile client: what it sends over and over, and whether it reads.

    It sends whenever the daemon has room for more, and waits in the kernel for that: to try again
    and again would only take the processors that the daemon needs to be asked more.
    """

    def __init__(self, path: str, kind: str, number: int) -> None:
        self._path = path
        self._gives = kind == "giving"
        self._reads = kind != "deaf"
        sent = {"asking": [SHOW], "deaf": [b"{}\0", SHOW], "polite": POLITE}.get(kind, GARBAGE)
        turned = sent[number % len(sent) :] + sent[: number % len(sent)]
        self._messages = cycle(turned if self._gives else [b"".join(turned) * _TIMES])
        self._left = memoryview(b"")
        self.dealt_with = 0
        self.socket: socket.socket | None = None

    def connect(self, watch: select.epoll) -> bool:
        """Connect, and be watched; False if there is no room for another yet."""
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.setblocking(False)
        try:
            made.connect(self._path)
        except OSError:
            made.close()
            return False
        self.socket, self._left = made, memoryview(b"")
        wanted = select.EPOLLIN | select.EPOLLOUT if self._reads else select.EPOLLOUT
        watch.register(made.fileno(), wanted)
        return True

    def turn(self, events: int) -> bool:
        """Do what can be done without waiting; False if the daemon has hung up."""
        assert self.socket is not None
        try:
            if events & select.EPOLLIN:
                self._read(self.socket)
            if events & select.EPOLLOUT:
                self._send(self.socket)
            is_over = bool(events & (select.EPOLLHUP | select.EPOLLERR))
        except BlockingIOError:
            return True
        except OSError:
            is_over = True
        if is_over:
            self.dealt_with += 1
            self.socket.close()
            self.socket = None
        return not is_over

    def _send(self, to: socket.socket) -> None:
        while True:
            self._left = self._left or memoryview(next(self._messages))
            if self._gives:
                sent = socket.send_fds(to, [self._left], [2] * DESCRIPTORS)
            else:
                sent = to.send(self._left)
            self._left = self._left[sent:]

    def _read(self, end: socket.socket) -> None:
        received = end.recv(1 << 18)
        if not received:
            raise ConnectionResetError
        self.dealt_with += received.count(b"\0")


KINDS = ("asking", "deaf", "garbage", "giving", "coming")


def attack(path: str, kind: str, clients: int, seconds: float) -> dict[str, object]:
    """Play so many clients for a while; return how many messages were dealt with."""
    if kind == "coming":
        come_and_go(path, clients, seconds)
        return {"dealt_with": 0}
    outside = [HostileClient(path, kind, number) for number in range(clients)]
    crowd = tuple(outside)
    connected: dict[int, HostileClient] = {}
    deadline = time.monotonic() + seconds
    with select.epoll() as watch:
        while (left := deadline - time.monotonic()) > 0:
            for client in outside.copy():
                if not client.connect(watch):
                    break
                outside.remove(client)
                connected[_descriptor(client)] = client
            for descriptor, events in watch.poll(min(_AGAIN_S, left) if outside else left):
                if not connected[descriptor].turn(events):
                    outside.append(connected.pop(descriptor))
    return {"dealt_with": sum(client.dealt_with for client in crowd)}


def come_and_go(path: str, clients: int, seconds: float) -> None:
    """Connect as fast as the kernel lets anybody in, and leave when so many others have come."""
    came: deque[socket.socket] = deque()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if len(came) == clients:
            came.popleft().close()
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 1, 0))
        came.append(made)
        with contextlib.suppress(OSError):
            made.connect(path)


def _descriptor(client: HostileClient) -> int:
    assert client.socket is not None
    return client.socket.fileno()


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

"""Forwarders that were taken over: each runs as any other does, until it carries out an attack.

`inmate.py PREPARATION ATTACK...` is their supervisor. For each attack it makes a real forwarder,
hands it board, TAP and packet socket, and tells it to attack. It prints how each ended, as JSON:
`done`, the errno it was refused with, or the signal it died of. PREPARATION is a letter or more:

    u  as in the service: supervisor and forwarders are the same ordinary user
    n  on a kernel without seccomp
    l  on a kernel without Landlock
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

from bench.lab.topology import MASTER
from shaper.channel import messages
from shaper.channel.board import MAX_SHAPERS, Board
from shaper.forwarder import __main__ as program
from shaper.forwarder import landlock, loop, sandbox
from shaper.kernel.packet_socket import open_packet_socket
from shaper.kernel.ring_caps import RingCaps
from shaper.kernel.tap import Tap
from shaper.model import Framing
from tests.kernel.attacks import ATTACKS, CONTROL, DONE, FAILED, POWERS, Loot, libc

USER = 12345  # of the service, here
TAP_NAME = "shaper0"
LIMIT_BYTES = 1 << 27  # of memory


@dataclass(frozen=True)
class Attack:
    """The order to carry out an attack."""

    name: str
    supervisor: int


class AttackingLoop(loop.Loop):
    """A forwarder's loop that knows one order more."""

    def _apply(self, order: messages.Order | Attack, descriptor: int | None, now_ns: int) -> None:
        if not isinstance(order, Attack):
            super()._apply(order, descriptor, now_ns)
            return
        try:
            ATTACKS[order.name](Loot(self, order.supervisor))
        except OSError as error:
            os._exit(error.errno or FAILED)
        except BaseException:
            os.write(2, traceback.format_exc(limit=0).encode())
            os._exit(FAILED)
        os._exit(DONE)


class AttackSupervisor:
    """Makes forwarders and tells each to attack.

    Args:
        preparation: letters; see above.
    """

    def __init__(self, preparation: str) -> None:
        self._tap = Tap(TAP_NAME)
        self._sock = open_packet_socket(MASTER)
        self._board = Board.create(3)
        self._caps = RingCaps(1, MAX_SHAPERS)
        self._is_unfiltered = "n" in preparation
        self._is_unlocked = "l" in preparation
        self._control = socket.socket(socket.AF_UNIX)
        self._control.bind(CONTROL)
        self._control.listen()
        if "u" in preparation:
            libc.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS: the service has two
            os.setgroups([])
            os.setresgid(USER, USER, USER)
            os.setresuid(USER, USER, USER)

    def run(self, attack: str) -> str:
        """Return how an attack ends."""
        ours, theirs = messages.pair()
        with ours, theirs:
            supervisor = os.getpid()
            pid = os.fork()
            if pid == 0:
                ours.close()
                self._become_forwarder(theirs.detach())
            theirs.close()
            with contextlib.suppress(OSError):
                for rows in self._caps.rows:
                    self._say(ours, messages.Rings(0), rows)
                self._say(ours, messages.Begin(2), self._board.descriptor)
                self._say(ours, messages.Open(0), self._tap.fileno())
                self._say(ours, messages.Bind(0, Framing.ETHERNET), self._sock.fileno())
                self._say(ours, Attack(attack, supervisor))
            _, status = os.waitpid(pid, 0)
        return _how(os.waitstatus_to_exitcode(status))

    def _become_forwarder(self, end: int) -> None:
        messages._ORDERS["Attack"] = Attack  # type: ignore[assignment]
        program.Loop = AttackingLoop  # type: ignore[misc]
        if self._is_unfiltered:
            sandbox._filter_system_calls = _refuse
        if self._is_unlocked:
            landlock.refuse_everything = _refuse
        sys.argv[1:] = [str(end)]
        resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
        program.main()

    def _say(
        self, end: socket.socket, order: messages.Order | Attack, descriptor: int | None = None
    ) -> None:
        messages.send_order(end, 0, order, descriptor)  # type: ignore[arg-type]
        answer = messages.receive_report(end)
        assert answer in (None, messages.Done(0)), answer

    def read(self) -> int:
        """Return what the board says in the row that was lied in."""
        return self._board.row(1)[0]

    def close(self) -> None:
        """Remove the device."""
        self._tap.close()


def _refuse(*_: object) -> None:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def _how(status: int) -> str:
    if status < 0:
        return signal.Signals(-status).name
    return {DONE: "done", FAILED: "failed"}.get(status) or errno.errorcode.get(status, str(status))


def main() -> None:
    """Print how each attack ends, and what is left of the supervisor and its board."""
    supervisor = AttackSupervisor(sys.argv[1])
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    names = sys.argv[2:] or list(ATTACKS)
    ends = {name: supervisor.run(name) for name in names}
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == limits
    print(json.dumps({"ends": ends, "row": supervisor.read()}))
    supervisor.close()


def everything() -> Iterator[str]:
    """Return the names of the attacks that must end."""
    return (name for name in ATTACKS if name not in POWERS)


if __name__ == "__main__":
    main()

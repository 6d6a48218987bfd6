"""The process in the terminal: what the shell started, and what it sees of the command.

It starts the keeper, passes on the signals that were sent to it alone, and ends as the command
did, by the same signal if it was one.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
from typing import Any, NoReturn

from shapecfg.client import EXIT_REFUSED, CallError
from shapecfg.run.keeper import keep
from shapecfg.run.order import Order

# Specified: include/uapi/asm-generic/siginfo.h. The kernel sends those of the terminal, and to
# the whole process group, so the command has had them.
_SI_KERNEL = 0x80

_PASSED_ON = {
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
}
_MAX_MESSAGE_BYTES = 4096


def attend(order: Order) -> NoReturn:
    """Run the keeper and end as the command does. Raises CallError when there is no link."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    signal.pthread_sigmask(signal.SIG_BLOCK, {*_PASSED_ON, signal.SIGCHLD})
    foreground = _foreground()
    keeper = os.fork()
    if keeper == 0:
        ours.close()
        keep(order, theirs)
    theirs.close()
    ours.setblocking(False)
    told, status = _wait(keeper, ours)
    _regain(foreground)
    _end(told, status)


def _wait(keeper: int, control: socket.socket) -> tuple[dict[str, Any], int]:
    """Return what the keeper told last, and its wait status."""
    told: dict[str, Any] = {}
    while True:
        received = signal.sigwaitinfo({*_PASSED_ON, signal.SIGCHLD})
        ended, status = os.waitpid(keeper, os.WNOHANG)
        told |= _heard(control)
        if ended:
            return told, status
        if received.si_signo == signal.SIGCHLD:
            continue
        if "started" not in told:  # there is no command yet that could do with it as it likes
            os.kill(keeper, signal.SIGKILL)
            os.waitpid(keeper, 0)
            _die_by(received.si_signo)
        if received.si_code != _SI_KERNEL:
            with contextlib.suppress(OSError):
                control.send(bytes([received.si_signo]))


def _heard(control: socket.socket) -> dict[str, Any]:
    told: dict[str, Any] = {}
    with contextlib.suppress(BlockingIOError, ConnectionError):
        while message := control.recv(_MAX_MESSAGE_BYTES):
            told |= json.loads(message)
    return told


def _end(told: dict[str, Any], status: int) -> NoReturn:
    if "failed" in told:
        raise CallError(told["failed"], told.get("status", EXIT_REFUSED))
    if "status" not in told:
        how = os.waitstatus_to_exitcode(status)
        raise CallError(f"the keeper of the link was ended by signal {-how}", EXIT_REFUSED)
    if told["signal"]:
        _die_by(told["signal"])
    os._exit(told["status"])


def _die_by(number: int) -> NoReturn:
    """End by a signal, without a core of this program: it is not the one that failed."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(128 + number)


def _foreground() -> int | None:
    """Return the descriptor of the terminal that this process has, if it is in front."""
    for descriptor in range(3):
        with contextlib.suppress(OSError):
            if os.tcgetpgrp(descriptor) == os.getpgrp():
                return descriptor
    return None


def _regain(terminal: int | None) -> None:
    """Take the terminal back from a command that had a process group of its own in front."""
    if terminal is None:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    with contextlib.suppress(OSError):
        os.tcsetpgrp(terminal, os.getpgrp())

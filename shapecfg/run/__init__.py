"""`shapecfg run`: a command behind a link of its own.

Nothing of the machine is changed and nothing stays: what makes the link are processes and
namespaces, and the kernel ends the latter with the former.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from shapecfg.client import EXIT_REFUSED, CallError
from shapecfg.run import machine, plan, spaces, terminal
from shapecfg.run.order import Order

_LOSS_WARNING = (
    "shapecfg: warning: the TCP of pasta recovers badly from lost segments: "
    "with --loss, connections are far slower than on a link, and may break; run as root for them"
)


def behind_link(wishes: plan.Wishes, *, is_quiet: bool, json_file: str | None) -> NoReturn:
    """Run the command behind the link and end as it does.

    Raises CallError, with a sentence, when something is missing or the link cannot be made.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    is_privileged = machine.is_privileged()
    tools = machine.tools(is_privileged=is_privileged)
    machine.check_tun()
    if not is_privileged and (wishes.down.line.loss or wishes.up.line.loss):
        print(_LOSS_WARNING, file=sys.stderr)
    found, resolver_text = machine.with_names(machine.look(tools.ip, is_privileged=is_privileged))
    order = Order(
        wishes,
        found,
        tools,
        is_quiet=is_quiet,
        json_fd=None if json_file is None else _opened(json_file),
        resolver_text=resolver_text,
        mask=frozenset(mask),
        restored=_restored(),
    )
    if is_privileged:
        spaces.unshare(spaces.CLONE_NEWPID)
    else:
        try:
            spaces.own_user_namespace(os.getuid(), os.getgid())
        except OSError as error:
            raise machine.user_namespaces_refused(error) from error
    terminal.attend(order)


def _opened(path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise CallError(f"{path} cannot be written: {error.strerror}", EXIT_REFUSED) from error


def _restored() -> tuple[int, ...]:
    """Return the signals that Python has changed: not those that were ignored at its start."""
    changed = [signal.SIGPIPE, signal.SIGXFSZ]
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        changed.append(signal.SIGINT)
    return tuple(changed)

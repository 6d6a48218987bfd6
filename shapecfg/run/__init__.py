"""`shapecfg run`: a command behind a link of its own.

Nothing of the machine is changed and nothing stays: what makes the link are processes and
namespaces, and the kernel ends the latter with the former.
"""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from typing import NoReturn

from shapecfg.client import EXIT_REFUSED, CallError
from shapecfg.run import foreground, link_plan, prerequisites, spaces
from shapecfg.run.order import Order


def behind_link(wishes: link_plan.Wishes, *, is_quiet: bool, json_file: str | None) -> NoReturn:
    """Run the command behind the link and end as it does.

    Raises CallError, with a sentence, when something is missing or the link cannot be made.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    is_privileged = prerequisites.is_privileged()
    has_relay = not is_privileged and wishes.loses
    tools = prerequisites.tools(is_privileged=is_privileged, has_relay=has_relay)
    prerequisites.check_tun()
    found, resolver_text = prerequisites.with_names(
        prerequisites.look(tools.ip, is_privileged=is_privileged)
    )
    found = replace(found, has_relay=has_relay)
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
            raise prerequisites.user_namespaces_refused(error) from error
    foreground.attend(order)


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

"""Which signals mean something to the daemon; every other one that can be ignored is ignored.

Ignoring is inherited, so the forwarders ignore the same ones. A fault of the process itself ends
it all the same: the kernel forces SIGSEGV and its like upon it (kernel/signal.c,
force_sig_info_to_task). SIGABRT keeps its meaning: a service manager ends a daemon that hangs so.
"""

from __future__ import annotations

import signal

STOP = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
RELOAD = signal.SIGHUP

_ABORT = signal.SIGABRT
_NOT_OURS_TO_IGNORE = {signal.SIGKILL, signal.SIGSTOP}
_NEEDED = {signal.SIGCHLD, signal.SIGCONT}  # an ignored SIGCHLD would hide how a forwarder ended


def ignore_harmless() -> None:
    """Let no signal end or stop the process but those that are meant to.

    `RELOAD` waits until `unblock`, which is to be called once it has a handler.
    """
    meant = {*STOP, RELOAD, _ABORT, *_NOT_OURS_TO_IGNORE, *_NEEDED}
    for number in signal.valid_signals() - meant:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {RELOAD})


def unblock() -> None:
    """Let a reload that was asked for meanwhile come through; its handler is there."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {RELOAD})

"""A shell at a terminal of its own, and what it answers to a key."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Sequence

from bench.lab.errors import LabError
from bench.lab.namespaces import stop

DEADLINE_S = 20.0  # chosen: zsh reads all completions first, 1 s here
TAB = "\t"
ERASE = "\x15"  # the line, in each of the shells

# What makes each of them ready to complete, and show that it is. The prompt is written so that
# it differs from the line that sets it.
READY = "ready> "
SHELLS = {
    "bash": (
        ["bash", "--norc", "-i"],
        ". /usr/share/bash-completion/completions/shapecfg; PS1='rea''dy> '\n",
    ),
    "zsh": (["zsh", "-f", "-i"], "autoload -Uz compinit; compinit -u -D; PS1='rea''dy> '\n"),
    "fish": (["fish", "--private"], "function fish_prompt; echo -n 'rea''dy> '; end\n"),
}


class Prompt:
    """An interactive shell; close it.

    Args:
        argv: the shell, on this side.

    """

    def __init__(self, argv: Sequence[str]) -> None:
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            argv, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)

    def answers(self, typed: str, wanted: str) -> str:
        """Type, and return what the terminal showed up to what is wanted.

        Raises:
            LabError: it was not shown in time; the message holds what was.

        """
        os.write(self._ours, typed.encode())
        shown, deadline = "", time.monotonic() + DEADLINE_S
        while wanted not in shown:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([self._ours], [], [], left_s)[0]:
                raise LabError(f"{typed!r} did not show {wanted!r} but {shown!r}")
            try:
                shown += os.read(self._ours, 65536).decode(errors="replace")
            except OSError as error:  # nothing has the terminal open any more
                raise LabError(f"the shell ended behind {typed!r}; it showed {shown!r}") from error
        return shown

    def close(self) -> None:
        """Hang up, which ends the shell."""
        os.close(self._ours)
        stop(self._process)

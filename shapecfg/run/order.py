"""What the process in the terminal has found out and wants done, for the keeper to do."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from shapecfg.run.link_plan import RunMachine, Wishes
from shapecfg.run.prerequisites import Tools


class Fault(Exception):
    """Why there is no link: one sentence."""


@dataclass(frozen=True)
class Order:
    """What the keeper is to do.

    Attributes:
        wishes: what was asked for.
        machine: what there is.
        tools: the programs that are needed.
        is_quiet: say nothing at the end.
        json_fd: where the summary for programs goes.
        resolver_text: /etc/resolv.conf for the command; None: the machine's.
        mask: the signals that the command has blocked.
        restored: the signals that this program handles, and the command does not.
    """

    wishes: Wishes
    machine: RunMachine
    tools: Tools
    is_quiet: bool
    json_fd: int | None
    resolver_text: str | None
    mask: frozenset[int]
    restored: tuple[int, ...]


def obey(path: str, options: Sequence[str], text: str) -> None:
    """Let a program carry out text where this process is. Raises Fault with what it says."""
    done = subprocess.run(
        [path, *options], input=f"{text}\n", capture_output=True, encoding="utf-8", check=False
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["it says nothing"]
        raise Fault(f"{os.path.basename(path)} refuses a part of the link: {said[0]}")

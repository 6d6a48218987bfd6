"""What the process in the terminal has found out and wants done, for the keeper to do."""

from __future__ import annotations

from dataclasses import dataclass

from shapecfg.run.machine import Tools
from shapecfg.run.plan import Machine, Wishes


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
    machine: Machine
    tools: Tools
    is_quiet: bool
    json_fd: int | None
    resolver_text: str | None
    mask: frozenset[int]
    restored: tuple[int, ...]

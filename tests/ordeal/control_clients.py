"""Clients without rights, by the hundred and by the million messages: what root waits then."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.lab.daemon import Shaperd
from bench.lab.namespaces import Namespace, python
from bench.lab.topology import MASTER, make_pair
from tests.ordeal.campaign import Trial, campaign
from tests.ordeal.hostile import KINDS

# Chosen: users that nobody bears.
FIRST_UID = 54_321
OTHER_UID = FIRST_UID + 100
SHAPERS = 2
_ROUND_S = 20.0
_NS = 1_000_000_000
_GRACE_S = 60.0

# Specified: what is promised.
ROOT_WAITS_S = 0.2  # the 99th percentile
OTHERS_WAIT_S = 1.0
SUPERVISOR_KIB = 60 * 1024
LOG_LINES = 100
DESCRIPTORS = 600  # 512 clients, a few devices, and what the daemon is made of


@dataclass
class AttackSeen:
    """What was seen during an attack.

    Attributes:
        dealt_with: messages that the daemon answered or hung up on.
        root_s: how long root waited for each answer.
        others_s: how long another user did.
        rss_kib: the most memory the supervisor had.
        descriptors: the most descriptors it had open.
        log_lines: how many lines were logged.
    """

    dealt_with: int
    root_s: list[float]
    others_s: list[float]
    rss_kib: int
    descriptors: int
    log_lines: int

    def faults(self) -> list[str]:
        """Return what was not as promised."""
        root, others = percentile(self.root_s, 99), percentile(self.others_s, 99)
        checks = [
            (root <= ROOT_WAITS_S, f"root waited for {root:.3f} s (p99)"),
            (others <= OTHERS_WAIT_S, f"another user waited for {others:.3f} s (p99)"),
            (self.rss_kib <= SUPERVISOR_KIB, f"the supervisor held {self.rss_kib} KiB"),
            (self.descriptors <= DESCRIPTORS, f"{self.descriptors} descriptors were open"),
            (self.log_lines <= LOG_LINES, f"{self.log_lines} lines were logged"),
        ]
        return [sentence for is_so, sentence in checks if not is_so]


def percentile(values: list[float], percent: int) -> float:
    """Return what so many percent of the values do not exceed; infinity if there are none."""
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) * percent // 100] if ordered else math.inf


def rss_kib(pid: int) -> int:
    """Return how much memory a process has in use."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0])


@contextmanager
def besieged(*options: str) -> Iterator[tuple[Namespace, Shaperd]]:
    """Run a daemon that everybody can reach, with an active shaper."""
    directory = Path(tempfile.mkdtemp(prefix="shaper-siege-"))
    directory.chmod(0o755)
    try:
        with (
            make_pair() as pair,
            Shaperd(pair.host, "--shapers", str(SHAPERS), *options, directory=directory) as daemon,
        ):
            daemon.configure("attach", "shaper0", MASTER)
            daemon.configure("speed", "shaper0", "10mbit")
            yield pair.host, daemon
    finally:
        shutil.rmtree(directory)


def attack(
    host: Namespace, daemon: Shaperd, clients: int, seconds: float, root_too: bool = False
) -> AttackSeen:
    """Let hostile clients of all kinds at a daemon, and ask it meanwhile what it has."""
    logged = daemon.log().count("\n")
    each = clients // len(KINDS)
    players = [
        _player(host, daemon, kind, FIRST_UID + number, each, seconds)
        for number, kind in enumerate(KINDS)
    ]
    if root_too:  # whose calls are not held back: it makes the numbers
        players.append(_player(host, daemon, "polite", 0, 4, seconds))
    root = _player(host, daemon, "show", 0, 1, seconds)
    other = _player(host, daemon, "show", OTHER_UID, 1, seconds)
    most_kib = most_descriptors = 0
    while any(each.poll() is None for each in (root, other, *players)):
        most_kib = max(most_kib, rss_kib(daemon.pid))
        opened = len(os.listdir(f"/proc/{daemon.pid}/fd"))
        most_descriptors = max(most_descriptors, opened)
        time.sleep(0.1)
    return AttackSeen(
        dealt_with=sum(_answer(player)["dealt_with"] for player in players),
        root_s=_answer(root)["waits_s"],
        others_s=_answer(other)["waits_s"],
        rss_kib=most_kib,
        descriptors=most_descriptors,
        log_lines=daemon.log().count("\n") - logged,
    )


def _player(
    host: Namespace, daemon: Shaperd, kind: str, uid: int, clients: int, seconds: float
) -> subprocess.Popen[Any]:
    numbers = (str(uid), str(clients), str(seconds))
    argv = python("tests.ordeal.hostile", kind, str(daemon.socket), *numbers)
    return host.popen(argv, stdout=subprocess.PIPE)


def _answer(player: subprocess.Popen[Any]) -> dict[str, Any]:
    out, _ = player.communicate(timeout=_GRACE_S)
    return dict(json.loads(out))


@campaign("control messages", count=10_000_000)
def besiege(trial: Trial) -> None:
    """Let 300 clients of five kinds at it, and one of root's that speaks nonsense and reads."""
    with besieged() as (host, daemon):
        for _ in trial:
            seen = attack(host, daemon, 300, _ROUND_S, root_too=True)
            trial.repeated(seen.dealt_with - 1)
            trial.stalled(round(max(seen.root_s) * _NS))
            trial.memory(seen.rss_kib)
            for sentence in seen.faults():
                trial.failed(sentence)
            if "Traceback" in daemon.log():
                trial.failed("a traceback in the log")

"""`shapecfg run`, killed at random moments of its life: nothing may be left of it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time

from bench.lab.errors import LabError
from bench.lab.topology import make_pair
from bench.lab.wait import wait_until
from tests.kernel.runs import ROOT_USER, USER, argv, children, is_alive, name, start, traces
from tests.ordeal.campaign import Trial, campaign

LIFE_S = 1.2  # from the first process to a command that runs
END_S = 1.0  # for the rest to end
SEED = 1

SCRIPT = "setsid sleep 60 & sleep 60"


@campaign("run kills", count=50)
def kill_runs(trial: Trial) -> None:
    """Any of its processes is killed, at any moment: no process, device, rule or file is left."""
    chance = random.Random(SEED + trial.row.repetitions)
    with make_pair() as pair:
        before = traces(pair)
        for number in trial:
            words = argv(
                (ROOT_USER, USER)[number % 2],
                "--down",
                "8mbit",
                "--delay",
                "20ms",
                *(("--loss", "1%") if number % 4 == 3 else ()),  # has a relay
                "--",
                "sh",
                "-c",
                SCRIPT,
            )
            with start(pair.host, words, stderr=subprocess.DEVNULL) as process:
                time.sleep(chance.uniform(0, LIFE_S))
                pids = children(process.pid)
                victim = chance.choice(sorted(pids))
                what = name(victim)[:60]
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                pids |= children(process.pid)
                # A forwarder is replaced, and the command's own processes are its business.
                if victim != process.pid:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(END_S)
                pids |= children(process.pid)
                process.kill()
            try:
                wait_until(lambda pids=pids: not any(map(is_alive, pids)), "their end")
                wait_until(lambda: traces(pair) == before, "nothing to be left")
                trial.left()
            except LabError as error:
                trial.left(f"after {what!r} was killed: {error}")

"""Campaigns on what is wanted: it is saved whole, survives failing disks, and outlives stops."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.lab.daemon import Shaperd
from bench.lab.namespaces import ROOT
from bench.lab.topology import MASTER, Pair, make_pair
from shapecfg.client import Client
from shaper.desired.store import Store
from shaper.model import Spec
from tests.kernel.steps import ip_json
from tests.ordeal.campaign import Trial, campaign

# Chosen.
_MOST_SHAPERS = 200  # a file of several pages
_LONGEST_WRITE_S = 0.02
_SHAPERS = 8
_STORMS = 3

# Writes states of changing length for ever; says so once it has begun.
_WRITER = """
import sys
from pathlib import Path
from shaper.desired.store import Store
from shaper.model import Spec
store, number = Store(Path(sys.argv[1])), 0
while True:
    number = number % int(sys.argv[2]) + 1
    store.save([Spec(f"s{each}", f"m{number}") for each in range(number)])
    if number == 1:
        print("writing", flush=True)
"""
# Saves to a file system that is full, read-only, or that gives an I/O error; then checks.
_FAILING = """
import errno, os, subprocess, sys
from pathlib import Path
from shaper.desired.store import Store
from shaper.model import Spec
directory, kind = Path(sys.argv[1]), sys.argv[2]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", directory], check=True)
store, before = Store(directory), [Spec("shaper0", "eth1")]
store.save(before)
if kind == "ENOSPC":
    (directory / "ballast").write_bytes(bytes(40 << 10))
elif kind == "EROFS":
    subprocess.run(["mount", "-o", "remount,ro", directory], check=True)
else:
    def refuse(_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    store = Store(directory, sync=refuse)
warnings = store.keep([Spec(f"s{each}", "eth1") for each in range(300)])
assert len(warnings) == 1 and os.strerror(getattr(errno, kind)) in warnings[0], warnings
assert Store(directory).load() == before
assert not (directory / "state.new").exists()
"""


@campaign("state writes killed", count=1000)
def kill_writes(trial: Trial) -> None:
    """Kill what saves at a random moment: the file is one that was saved, whole."""
    source = random.Random()
    with tempfile.TemporaryDirectory() as directory:
        for _ in trial:
            _kill_one(trial, Path(directory), source.uniform(0, _LONGEST_WRITE_S))


def _kill_one(trial: Trial, directory: Path, after_s: float) -> None:
    argv = [sys.executable, "-c", _WRITER, str(directory), str(_MOST_SHAPERS)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(after_s)
        writer.kill()
    specs = Store(directory).load()
    number = len(specs)
    if specs != [Spec(f"s{each}", f"m{number}") for each in range(number)] or not number:
        trial.failed(f"a state of {number} shapers that was never saved")
    left = {path.name for path in directory.iterdir()} - {"state.json", "state.new"}
    trial.left(*left)


@campaign("state writes failed", count=100)
def fail_writes(trial: Trial) -> None:
    """A full, a read-only and a broken disk: warned of, and the old file stays."""
    kinds = ("ENOSPC", "EROFS", "EIO")
    with tempfile.TemporaryDirectory() as directory:
        for number in trial:
            done = subprocess.run(
                [
                    *(shutil.which("unshare") or "unshare", "--mount", sys.executable),
                    *("-c", _FAILING, directory, kinds[number % len(kinds)]),
                ],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                trial.failed(done.stderr.strip().splitlines()[-1])


@campaign("stops amid storms", count=1000)
def stop_amid_storms(trial: Trial) -> None:
    """SIGTERM while clients add and set: nothing that was wanted is lost, nothing is left."""
    source = random.Random()
    with make_pair() as pair:
        for _ in trial:
            with tempfile.TemporaryDirectory() as directory:
                _stop_one(trial, pair, Path(directory), source.uniform(0, 0.2))


def _stop_one(trial: Trial, pair: Pair, directory: Path, after_s: float) -> None:
    with Shaperd(pair.host, "--shapers", str(_SHAPERS), directory=directory) as daemon:
        client = Client(str(daemon.socket))
        for number in range(_SHAPERS):
            client.attach(f"shaper{number}", MASTER)
        storms = [_storm(pair, daemon) for _ in range(_STORMS)]
        time.sleep(after_s)
        os.kill(daemon.pid, signal.SIGTERM)
        assert daemon.process is not None
        status = daemon.process.wait(30)
        answers = [set(storm.communicate(timeout=30)[0].split()) for storm in storms]
        if status != 0 or "Traceback" in daemon.log():
            trial.failed(f"exit status {status}; its log ends: {daemon.log()[-200:]}")
        text = (daemon.state / "state.json").read_text(encoding="utf-8")
    kept = {each["ifname"]: each["master"] for each in json.loads(text)["shapers"]}
    lost = set().union(*answers) - kept.keys()
    lost |= {f"shaper{n}" for n in range(_SHAPERS) if kept.get(f"shaper{n}") != MASTER}
    if lost:
        trial.failed(f"lost from the state: {', '.join(sorted(lost))}")
    trial.left(*({each["ifname"] for each in ip_json(pair.host, "link")} - {"lo", MASTER}))


def _storm(pair: Pair, daemon: Shaperd) -> subprocess.Popen[str]:
    """Add shapers and set the speed of others until the daemon is gone; print what was added."""
    script = (
        "import sys\n"
        "from shapecfg.client import Client\n"
        "client = Client(sys.argv[1])\n"
        "while True:\n"
        "    print(client.add(None)['ifname'], flush=True)\n"
        "    client.set_speed('shaper0', 64000)\n"
    )
    return pair.host.popen(
        [sys.executable, "-c", script, str(daemon.socket)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

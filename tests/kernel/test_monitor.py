"""Events come as they happen, from a daemon that runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable

from bench.lab.daemon import Shaperd
from bench.lab.topology import MASTER, Pair
from bench.lab.wait import wait_until
from tests.kernel.steps import SHAPER, shape


def read(lines: Iterable[str], told: list[tuple[str, str | None]]) -> None:
    """Keep what is told, until there is no more."""
    for line in lines:
        each = json.loads(line)
        told.append((each["event"], each["link"]))


def test_what_happens_is_told_to_who_looks_on(pair: Pair, shaperd: Shaperd) -> None:
    """Attach, speed, state, a master that goes down, and a forwarder that dies, in order."""
    command = [sys.executable, "-m", "shapecfg", "--socket", str(shaperd.socket), "-j", "monitor"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as monitor:
        assert monitor.stdout is not None
        told: list[tuple[str, str | None]] = []
        reading = threading.Thread(target=read, args=(monitor.stdout, told))
        reading.start()

        def has(event: str, link: str | None) -> bool:
            return (event, link) in told

        def ready() -> bool:
            shaperd.shapecfg("speed", SHAPER, "1mbit")
            return has("speed", None)

        try:
            wait_until(ready, "the first event")
            shape(shaperd, pair, "10mbit")
            wait_until(lambda: has("attached", MASTER), "attached")
            wait_until(lambda: has("state", MASTER), "a state")
            (forwarder,) = shaperd.forwarder_pids()
            os.kill(forwarder, signal.SIGKILL)
            wait_until(lambda: has("forwarder-replaced", None), "another forwarder")
            assert ("forwarder-lost", None) in told
        finally:
            monitor.terminate()
            reading.join()

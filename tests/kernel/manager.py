"""A service manager that keeps descriptors over a restart, played by a test."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.lab.namespaces import python, stop
from bench.lab.topology import Pair
from bench.lab.wait import wait_until

START_S = 30.0  # chosen: a thousand shapers on a machine that is busy

# Put what was passed where sd_listen_fds(3) has it, and become the daemon.
PASS = """
import os, sys
passed = [int(each) for each in sys.argv[1].split(":") if each]
above = 3 + len(passed) + max(passed, default=0)
moved = [os.dup2(each, above + place) for place, each in enumerate(passed)]
for place, each in enumerate(moved):
    os.dup2(each, 3 + place, inheritable=True)
os.closerange(3 + len(passed), above + len(passed))
os.environ["LISTEN_PID"], os.environ["LISTEN_FDS"] = str(os.getpid()), str(len(moved))
os.execv(sys.argv[2], sys.argv[2:])
"""


class Manager:
    """A service manager: starts the daemon, and keeps what it is given.

    Args:
        pair: where it runs.
        directory: for the daemon's files.
        configuration: its shaper.toml.
    """

    def __init__(self, pair: Pair, directory: Path, configuration: str) -> None:
        self._pair = pair
        self._directory = directory
        self.kept: dict[str, int] = {}
        self.process: subprocess.Popen[Any] | None = None
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._line.bind(str(directory / "notify"))
        self._line.settimeout(0.05)
        self.state = directory / "state"
        self.state.mkdir()
        (directory / "shaper.toml").write_text(configuration)

    def start(self) -> None:
        """Start the daemon with all that is kept, and wait until it is ready."""
        names = sorted(self.kept)
        passed = [self.kept[name] for name in names]
        daemon = python("shaper.daemon", "--socket", str(self._directory / "org.shaper"))
        daemon += ["--state-dir", str(self.state)]
        daemon += ["--config", str(self._directory / "shaper.toml")]
        argv = [sys.executable, "-c", PASS, ":".join(map(str, passed)), *daemon]
        extra = {"NOTIFY_SOCKET": str(self._directory / "notify"), "SHAPER_FDSTORE": "1"}
        extra["LISTEN_FDNAMES"] = ":".join(names)
        with (self._directory / "log").open("ab") as log:
            self.process = self._pair.host.popen(
                argv, extra=extra, pass_fds=passed, stdout=log, stderr=log
            )
        wait_until(lambda: self.listen("READY=1"), "the daemon to be ready", START_S)

    def listen(self, wanted: str = "") -> bool:
        """Obey what the daemon says; return whether it has said this."""
        with contextlib.suppress(TimeoutError):
            while True:
                data, descriptors, _, _ = socket.recv_fds(self._line, 4096, 8)
                lines = data.decode().split("\n")
                said = dict(line.partition("=")[::2] for line in lines)
                if "FDSTORE" in said:
                    self.kept[said["FDNAME"]] = descriptors[0]
                if "FDSTOREREMOVE" in said and said["FDNAME"] in self.kept:
                    os.close(self.kept.pop(said["FDNAME"]))
                if wanted in lines:
                    return True
        return False

    def close(self) -> None:
        """End the daemon, and what it had."""
        if self.process is not None:
            stop(self.process)
        for descriptor in self.kept.values():
            os.close(descriptor)
        self._line.close()

"""The real daemon, started in a namespace and always ended again."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.lab.errors import LabError
from bench.lab.namespaces import Namespace, python, stop

START_S = 10.0  # chosen: what the daemon gets to say that it is ready
NICENESS = -10  # as packaging/shaper.service asks for
POLL_S = 0.05  # chosen: how soon a daemon that died instead is noticed


def children(pid: int) -> list[int]:
    """Return the processes whose parent is `pid`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # proc(5): the name may hold anything, blanks and brackets too, up to the last one.
            text = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
            if int(text.split()[1]) == pid:
                found.append(int(path.parent.name))
    return sorted(found)


def _stands_by(pid: int) -> bool:
    """Whether a forwarder waits until it is needed; its command line says so."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().endswith(b"\0standby\0")
    return False


class Shaperd:
    """A daemon with a socket and a state of its own; a context manager.

    Two of them, one after the other, share their state if given the same directory.

    Attributes:
        socket: the path of its control socket.
        state: its state directory.
        process: the daemon, once started.

    """

    def __init__(self, namespace: Namespace, *options: str, directory: Path | None = None) -> None:
        self._namespace = namespace
        self._options = options
        self._is_own = directory is None
        self._directory = directory or Path(tempfile.mkdtemp(prefix="shaper-lab-"))
        self._log = self._directory / "log"
        self.socket = self._directory / "org.shaper"
        self.state = self._directory / "state"
        self.process: subprocess.Popen[Any] | None = None

    def __enter__(self) -> Shaperd:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the daemon and wait until it says that it is ready.

        Raises:
            LabError: it ended instead or said nothing; the message holds its log.

        """
        argv = python("shaper.daemon", "--socket", str(self.socket))
        argv += ["--state-dir", str(self.state), *self._options]
        self.state.mkdir(exist_ok=True)
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as ready:
            # A path, not an abstract name: those are private to a network namespace.
            address = self._directory / "notify"
            address.unlink(missing_ok=True)
            ready.bind(str(address))
            with self._log.open("ab") as log:
                self.process = self._namespace.popen(
                    argv,
                    extra={"NOTIFY_SOCKET": str(address)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            # Before it has children; an ordinary user's daemon has to do without.
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self.pid, NICENESS)
                # A session of its own, whose weight it is that counts, see sched(7): in the unit
                # that of the control group is as much (CPUWeight=1000).
                Path(f"/proc/{self.pid}/autogroup").write_text(f"{NICENESS}\n", encoding="ascii")
            self._wait_ready(ready, self.process)

    def _wait_ready(self, ready: socket.socket, process: subprocess.Popen[Any]) -> None:
        """Wait for READY=1 on the notification socket (sd_notify(3))."""
        deadline = time.monotonic() + START_S
        ready.settimeout(POLL_S)
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(TimeoutError):
                if b"READY=1" in ready.recv(4096).split(b"\n"):
                    return
        raise LabError(f"shaperd did not become ready; its log:\n{self.log()}")

    @property
    def pid(self) -> int:
        """The process id of the supervisor."""
        if self.process is None:
            raise LabError("shaperd has not been started")
        return self.process.pid

    def forwarder_pids(self) -> list[int]:
        """Return the process ids of the forwarders: children of the supervisor that serve."""
        return [pid for pid in children(self.pid) if not _stands_by(pid)]

    def standby_pids(self) -> list[int]:
        """Return the process ids of forwarders that stand by for the death of another."""
        return [pid for pid in children(self.pid) if _stands_by(pid)]

    def processes(self) -> dict[str, int]:
        """Return the supervisor and the forwarders that serve, by name."""
        forwarders = enumerate(self.forwarder_pids(), 1)
        return {"supervisor": self.pid, **{f"forwarder {at}": pid for at, pid in forwarders}}

    def log(self) -> str:
        """Return everything the daemon has written so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def shapecfg(self, *arguments: str, seconds: float = 10.0) -> subprocess.CompletedProcess[str]:
        """Run the real shapecfg against this daemon; its exit status is the caller's business."""
        return self._namespace.run(
            python("shapecfg", *arguments),
            check=False,
            seconds=seconds,
            extra={"SHAPER_SOCKET": str(self.socket)},
        )

    def configure(self, *arguments: str) -> str:
        """Run shapecfg for something that must succeed, and return what it prints.

        Raises:
            LabError: it did not; the message holds what it said.

        """
        done = self.shapecfg(*arguments)
        if done.returncode != 0:
            command = " ".join(arguments)
            raise LabError(f"shapecfg {command}: exit {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def show(self, ifname: str) -> dict[str, Any]:
        """Return what `shapecfg -j show` tells of one shaper."""
        (answer,) = json.loads(self.configure("-j", "show", ifname))
        return dict(answer)

    def kill(self) -> None:
        """Kill the supervisor outright, as a crash would, and wait until it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask the daemon to end, and return its exit status; the state is kept."""
        return 0 if self.process is None else stop(self.process, number)

    def close(self) -> None:
        """End the daemon if it runs, and remove its directory if that was made here."""
        self.stop()
        if self._is_own:
            shutil.rmtree(self._directory, ignore_errors=True)

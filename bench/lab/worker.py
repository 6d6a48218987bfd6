"""A process of the lab: starts, says that it is ready, works until told to stop, reports.

The far side is a module run inside a namespace. It writes `ready`, ends when its standard input
does (so also when the lab dies), and writes its report to standard output last.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time

from bench.lab.errors import LabError
from bench.lab.namespaces import STOP_S, Namespace, python, stop

READY = b"ready\n"
START_S = 10.0  # chosen: to start an interpreter on a busy machine


def announce_ready() -> None:
    """Tell the lab, from inside a worker, that the work has begun."""
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()


class Worker:
    """A running module; a context manager that ends it."""

    def __init__(self, namespace: Namespace, module: str, *arguments: str) -> None:
        """Start the module and wait until it is ready.

        Raises:
            LabError: it ended or hung instead; the message holds what it wrote.

        """
        self._module = module
        self._process = namespace.popen(
            python(module, *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        try:
            self._wait_ready(time.monotonic() + START_S)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait_ready(self, deadline: float) -> None:
        """Read the word that says the work has begun, and nothing after it."""
        output = self._process.stdout.fileno()
        said = b""
        while said != READY:
            remaining = max(0.0, deadline - time.monotonic())
            more = b""
            if select.select([output], [], [], remaining)[0]:
                more = os.read(output, len(READY) - len(said))
            if not more:
                raise LabError(f"{self._module} did not begin: {self._complaint()}")
            said += more

    def _complaint(self) -> str:
        """End the process and return what it wrote on standard error."""
        self._process.kill()
        return str(self._process.communicate()[1], "utf-8", "replace").strip() or "it hung"

    def is_running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.poll() is None

    def finish(self, seconds: float = STOP_S) -> bytes:
        """Close its input, wait for its end, and return its report.

        Raises:
            LabError: it failed or did not end; the message holds what it wrote.

        """
        try:
            report, complaint = self._process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self._module} did not end: {self._complaint()}") from None
        if self._process.returncode != 0:
            raise LabError(f"{self._module}: {str(complaint, 'utf-8', 'replace').strip()}")
        return bytes(report)

    def close(self) -> None:
        """End the process, whatever it is doing."""
        stop(self._process)


def input_ended() -> bool:
    """Whether, inside a worker, the lab has closed standard input."""
    return bool(select.select([0], [], [], 0)[0]) and not os.read(0, 1)

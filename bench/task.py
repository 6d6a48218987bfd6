"""A function at work in a namespace, in a process of its own that is forked, not started.

A benchmark of hundreds of measurements has no time to start an interpreter for each sender. The
child shares the parent's imports, enters the namespace, says that it is ready, works, and hands
its result back through a pipe. It ends when the parent does.
"""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import select
import signal
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from bench.lab.errors import LabError
from bench.lab.launch import PR_SET_PDEATHSIG
from bench.lab.namespaces import Namespace

READY = b"+"
START_S = 5.0  # chosen: what a child gets to open its sockets
SLACK_S = 5.0  # chosen: what it gets beyond its own time to report

Ready = Callable[[], None]


class Task:
    """A running function; a context manager that ends it.

    Args:
        namespace: where it runs.
        function: called in the child with a function that says "ready"; returns what can be
            pickled.

    """

    def __init__(self, namespace: Namespace, function: Callable[[Ready], Any]) -> None:
        self.name = getattr(function, "__qualname__", repr(function))
        self._results, output = os.pipe()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._results)
            _be_child(parent, namespace, function, output)
        os.close(output)
        self._await_ready()

    def _await_ready(self) -> None:
        if not select.select([self._results], [], [], START_S)[0]:
            self.close()
            raise LabError(f"{self.name} did not begin")
        if os.read(self._results, 1) != READY:
            raise LabError(f"{self.name} failed before it began")

    def __enter__(self) -> Task:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stop(self) -> Any:
        """Ask it to end (SIGTERM) and return its result."""
        os.kill(self.pid, signal.SIGTERM)
        return self.result(0.0)

    def result(self, seconds: float) -> Any:
        """Wait for it to end by itself, in about `seconds`, and return its result.

        Raises:
            LabError: it failed or did not end.

        """
        answer = self._read_all(time.monotonic() + seconds + SLACK_S)
        self.close()
        if not answer:
            raise LabError(f"{self.name} ended without a result")
        is_good, value = pickle.loads(answer)  # of our own child
        if not is_good:
            raise LabError(f"{self.name} failed:\n{value}")
        return value

    def _read_all(self, deadline: float) -> bytes:
        parts = []
        while select.select([self._results], [], [], max(0.0, deadline - time.monotonic()))[0]:
            part = os.read(self._results, 1 << 20)
            if not part:
                return b"".join(parts)
            parts.append(part)
        self.close()
        raise LabError(f"{self.name} did not end")

    def close(self) -> None:
        """End the child, whatever it is doing."""
        if self.pid:
            # Reaped here and nowhere else, so the number is still its own.
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self._results)
            self.pid = 0


class Stopped(Exception):
    """Raised in a child whose parent has asked it to end."""


def _stop(_number: int, _frame: object) -> None:
    raise Stopped


def _be_child(
    parent: int, namespace: Namespace, function: Callable[[Ready], Any], output: int
) -> NoReturn:
    """Work as the child, and leave without running any of the parent's clean-up."""
    try:
        gc.disable()  # nor may a collection walk through all the parent's objects
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, _stop)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == parent:
            answer = _answer(namespace, function, output)
            with open(output, "wb") as pipe:
                pipe.write(pickle.dumps(answer))
    finally:
        os._exit(0)


def _answer(
    namespace: Namespace, function: Callable[[Ready], Any], output: int
) -> tuple[bool, Any]:
    try:
        with namespace.enter():
            return True, function(lambda: os.write(output, READY) and None)
    except Exception:
        return False, traceback.format_exc()

"""A function at work in a namespace, in a process of its own that is forked, not started.

Hundreds of measurements have no time to start an interpreter for each sender. The child shares
the parent's imports, enters the namespace, says that it is ready, works, and hands its result
back through a pipe. It ends when the parent does.
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
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NoReturn, Self

from bench.lab.errors import LabError
from bench.lab.launch import PR_SET_PDEATHSIG
from bench.lab.namespaces import Namespace

READY = b"+"
START_S = 5.0  # chosen: what a child gets to open its sockets
SLACK_S = 5.0  # chosen: what it gets beyond its own time to report
STANDARD = 3  # descriptors

# Says that the work has begun; returns a descriptor that can be read once the work is to end.
Ready = Callable[[], int]


class Task:
    """A running function; a context manager that ends it.

    Args:
        namespace: where it runs.
        function: called in the child with a `Ready`; returns what can be pickled.

    Raises:
        LabError: it failed or hung before it was ready; the message holds its traceback.

    """

    def __init__(self, namespace: Namespace, function: Callable[[Ready], Any]) -> None:
        self._name = type(function).__name__
        self._results, output = os.pipe()
        over, self._end = os.pipe()
        parent = os.getpid()
        with warnings.catch_warnings():
            # Python 3.12 warns of threads, whose locks the child never takes.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid == 0:
            _be_child(parent, namespace, function, output, over)
        os.close(output)
        os.close(over)
        try:
            self._await_ready()
        except BaseException:
            self.close()
            raise

    def _await_ready(self) -> None:
        if not select.select([self._results], [], [], START_S)[0]:
            raise LabError(f"{self._name} did not begin")
        if (begun := os.read(self._results, 1)) != READY:
            self._value(begun + self._read_all(time.monotonic() + SLACK_S))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def is_running(self) -> bool:
        """Whether it has no result yet."""
        return not select.select([self._results], [], [], 0)[0]

    def stop(self, seconds: float = 0.0) -> Any:
        """Tell it that the work is to end, and return its result; see `result`."""
        os.write(self._end, b"-")
        return self.result(seconds)

    def result(self, seconds: float) -> Any:
        """Wait for it to end by itself, in about `seconds`, and return its result.

        Raises:
            LabError: it failed or did not end.

        """
        answer = self._read_all(time.monotonic() + seconds + SLACK_S)
        self.close()
        return self._value(answer)

    def _value(self, answer: bytes) -> Any:
        """Return what a child has answered, or raise what it failed with."""
        if not answer:
            raise LabError(f"{self._name} ended without a result")
        is_good, value = pickle.loads(answer)  # of our own child
        if not is_good:
            raise LabError(f"{self._name} failed:\n{value}")
        return value

    def _read_all(self, deadline: float) -> bytes:
        parts = []
        while select.select([self._results], [], [], max(0.0, deadline - time.monotonic()))[0]:
            part = os.read(self._results, 1 << 20)
            if not part:
                return b"".join(parts)
            parts.append(part)
        self.close()
        raise LabError(f"{self._name} did not end")

    def close(self) -> None:
        """End the child, whatever it is doing."""
        if self._pid:
            # Reaped here and nowhere else, so the number is still its own.
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            os.close(self._results)
            os.close(self._end)
            self._pid = 0


def _be_child(
    parent: int, namespace: Namespace, function: Callable[[Ready], Any], output: int, over: int
) -> NoReturn:
    """Work as the child, and leave without running any of the parent's clean-up."""
    try:
        gc.disable()  # nor may a collection walk through all the parent's objects
        _keep_only(output, over, namespace.descriptor)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == parent:
            answer = _answer(namespace, function, lambda: os.write(output, READY) and over)
            with open(output, "wb") as pipe:
                pipe.write(pickle.dumps(answer))
    finally:
        os._exit(0)


def _keep_only(*descriptors: int) -> None:
    """Close every other descriptor: a parent's socket would stay open in the child."""
    ends = [STANDARD - 1, *sorted(descriptors), os.sysconf("SC_OPEN_MAX")]
    for before, after in pairwise(ends):
        os.closerange(before + 1, after)


def _answer(
    namespace: Namespace, function: Callable[[Ready], Any], ready: Ready
) -> tuple[bool, Any]:
    try:
        with namespace.enter():
            return True, function(ready)
    except Exception:
        return False, traceback.format_exc()

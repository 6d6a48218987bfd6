"""A function at work in a namespace, in a process of its own that is forked, not started.

Hundreds of measurements have no time to start an interpreter for each sender. The child shares
the parent's imports, enters the namespace, says that it is ready, works, and hands its result
back through a pipe. It ends when the parent does.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import os
import signal
import traceback
import warnings
from collections.abc import Callable
from itertools import pairwise
from multiprocessing.connection import Connection
from typing import Any

from bench.lab.errors import LabError
from bench.lab.launch import PR_SET_PDEATHSIG
from bench.lab.namespaces import Namespace

START_S = 5.0  # chosen: what a child gets to open its sockets
SLACK_S = 5.0  # chosen: what it gets beyond its own time to report
STANDARD = 3  # descriptors

# Says that the work has begun; returns a descriptor that can be read once the work is to end.
Ready = Callable[[], int]

_forking = multiprocessing.get_context("fork")


class Task(contextlib.AbstractContextManager["Task"]):
    """A running function; a context manager that ends it.

    Args:
        namespace: where it runs.
        function: called in the child with a `Ready`; returns what can be pickled.

    Raises:
        LabError: it failed or hung before it was ready; the message holds its traceback.

    """

    def __init__(self, namespace: Namespace, function: Callable[[Ready], Any]) -> None:
        self._name = type(function).__name__
        self._pipe, end = _forking.Pipe()
        self._process = _forking.Process(
            target=_work, args=(os.getpid(), namespace, function, end), daemon=True
        )
        self._is_open = True
        with warnings.catch_warnings():
            # Python 3.12 warns of threads, whose locks the child never takes.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process.start()
        end.close()
        try:
            self._receive(START_S, "begin")
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def is_running(self) -> bool:
        """Whether it has no result yet."""
        return not self._pipe.poll()

    def stop(self, seconds: float = 0.0) -> Any:
        """Tell it that the work is to end, and return its result; see `result`."""
        with contextlib.suppress(ConnectionError):  # it is gone: the result says so
            self._pipe.send(None)
        return self.result(seconds)

    def result(self, seconds: float) -> Any:
        """Wait for it to end by itself, in about `seconds`, and return its result.

        Raises:
            LabError: it failed or did not end.

        """
        try:
            return self._receive(seconds + SLACK_S, "end")
        finally:
            self.close()

    def _receive(self, seconds: float, what: str) -> Any:
        """Return what a child says next, or raise what it failed with."""
        if not self._pipe.poll(seconds):
            raise LabError(f"{self._name} did not {what}")
        try:
            is_good, value = self._pipe.recv()
        except (EOFError, ConnectionError):
            raise LabError(f"{self._name} ended without a result") from None
        if not is_good:
            raise LabError(f"{self._name} failed:\n{value}")
        return value

    def close(self) -> None:
        """End the child, whatever it is doing."""
        if self._is_open:
            self._is_open = False
            self._process.kill()
            self._process.join()
            self._process.close()
            self._pipe.close()


def _work(
    parent: int, namespace: Namespace, function: Callable[[Ready], Any], pipe: Connection
) -> None:
    """Work as the child."""
    gc.disable()  # nor may a collection walk through all the parent's objects
    _keep_only(pipe.fileno(), namespace.descriptor)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        return
    try:
        with namespace.enter():
            answer = True, function(lambda: pipe.send((True, None)) or pipe.fileno())
    except Exception:
        answer = False, traceback.format_exc()
    pipe.send(answer)
    os._exit(0)  # without any of the parent's clean-up


def _keep_only(*descriptors: int) -> None:
    """Close every other descriptor: a parent's socket would stay open in the child."""
    ends = [STANDARD - 1, *sorted(descriptors), os.sysconf("SC_OPEN_MAX")]
    for before, after in pairwise(ends):
        os.closerange(before + 1, after)

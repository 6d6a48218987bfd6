"""A network namespace that is nothing but an open descriptor.

It has no name in /run/netns, so the kernel destroys it, and every device in it, when the
descriptor and the processes inside are gone: also after kill -9.

A thread enters a namespace with setns(2), and a process it then starts is born inside. That
needs no code between fork and exec, and leaves other threads where they are.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.lab.errors import LabError

CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h
STOP_S = 5.0  # chosen: what a process gets to end in before it is killed

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = Path(__file__).with_name("launch.py")

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    """Raise the OSError of a C library call that failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _own() -> int:
    """Open the namespace that the calling thread is in."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def python(module: str, *arguments: str) -> list[str]:
    """Return the argument vector that runs a module with this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment, in which children find the project's packages."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **(extra or {})}


def stop(process: subprocess.Popen[Any], number: int = signal.SIGTERM) -> int:
    """End a process, by force if it does not go by itself, and return its exit status."""
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
    status = process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    return status


class Counters(NamedTuple):
    """What an interface has received."""

    received_bytes: int
    frames: int


class Namespace(contextlib.AbstractContextManager["Namespace"]):
    """A network namespace of its own, with `lo` up; a context manager that destroys it.

    Raises:
        OSError: the kernel refused to make one (EPERM without CAP_SYS_ADMIN).

    """

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[Any]] = []
        outside = _own()
        try:
            _checked(_libc.unshare(CLONE_NEWNET), "unshare")
            self.descriptor = _own()
            _checked(_libc.setns(outside, CLONE_NEWNET), "setns")
        finally:
            os.close(outside)
        self.run(["ip", "link", "set", "lo", "up"])

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes started here that still run, and let the namespace go."""
        for process in reversed(self._processes):
            stop(process)
        self._processes.clear()
        os.close(self.descriptor)

    @contextlib.contextmanager
    def enter(self) -> Iterator[None]:
        """Put the calling thread inside; sockets it opens there stay there."""
        outside = _own()
        try:
            _checked(_libc.setns(self.descriptor, CLONE_NEWNET), "setns")
            try:
                yield
            finally:
                _checked(_libc.setns(outside, CLONE_NEWNET), "setns")
        finally:
            os.close(outside)

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        text: str | None = None,
        seconds: float = 30.0,
        extra: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end and return what it printed.

        Args:
            argv: the program and its arguments.
            check: raise if it does not exit with 0.
            text: its standard input.
            seconds: how long it may take.
            extra: additions to its environment.
            pass_fds: descriptors it inherits, under the same numbers.

        Raises:
            LabError: it failed; the message holds what it wrote on standard error.

        """
        with self.enter():
            done = subprocess.run(
                argv,
                input=text or "",
                capture_output=True,
                encoding="utf-8",
                timeout=seconds,
                check=False,
                env=environment(extra),
                pass_fds=pass_fds,
            )
        if check and done.returncode != 0:
            raise LabError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip()}")
        return done

    def popen(
        self, argv: Sequence[str], *, extra: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[Any]:
        """Start a program that ends with this process, at the latest when the namespace closes.

        It has a session of its own: Ctrl-C reaches the lab, and the lab ends the program.
        `options` are those of `subprocess.Popen`.
        """
        launcher = [sys.executable, "-S", str(LAUNCHER), str(os.getpid())]
        with self.enter():
            process = subprocess.Popen(
                [*launcher, *argv], env=environment(extra), start_new_session=True, **options
            )
        self._processes.append(process)
        return process

    def ip(self, *commands: str, pass_fds: Sequence[int] = ()) -> None:
        """Carry out `ip` commands, one a line, in one process."""
        self.run(["ip", "-batch", "-"], text="\n".join(commands) + "\n", pass_fds=pass_fds)

    def sysctl(self, name: str, value: int | str) -> None:
        """Set a kernel parameter of this namespace: `net/ipv4/ip_forward`."""
        with self.enter():
            Path("/proc/sys", name).write_text(f"{value}\n", encoding="ascii")

    def counters(self) -> dict[str, Counters]:
        """Return what every interface has received so far."""
        with self.enter():
            lines = Path("/proc/thread-self/net/dev").read_text(encoding="ascii").splitlines()[2:]
        parts = (line.partition(":") for line in lines)
        return {
            name.strip(): Counters(*map(int, numbers.split()[:2])) for name, _, numbers in parts
        }

    def received_bytes(self, interface: str) -> int:
        """Return how many bytes an interface has received, link-layer headers included."""
        return self.counters()[interface].received_bytes

"""The parts of a link beside the command: the way out and the private daemon.

Both are children of the keeper. What they write is kept in memory, for the sentence that says why
there is no link. Their files lie in a directory that is covered by an empty one for them alone.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from shapecfg.client import CallError, Client
from shapecfg.reply import Shaper
from shapecfg.run import link_plan, relay_plan, spaces, way_out
from shapecfg.run.link_plan import DOWN, UP, WAY_OUT
from shapecfg.run.order import Fault, Order, obey

# Chosen.
_START_S = 10.0  # for each part of the link to be there
_POLL_S = 0.005
_MAX_LOG_BYTES = 1 << 16
# Directories that can be covered, for the daemons alone, if no program lives there.
_COVERS = ("/mnt", "/media", "/srv", "/run", "/tmp")
_BEGIN = b"b"


class Parts:
    """The processes of one link.

    Args:
        order: what the keeper is to do.

    Attributes:
        directory: what is covered.

    Raises:
        Fault: there is nothing to cover.
    """

    def __init__(self, order: Order) -> None:
        self.directory = _cover()
        self._order = order
        self._log = os.memfd_create("log", os.MFD_CLOEXEC)
        self._processes: dict[int, str] = {}
        self._rules = -1
        self._relay: socket.socket | None = None
        self._relay_pid = -1

    @property
    def _client(self) -> Client:
        return Client(str(self.directory / "org.shaper"))

    def start_relay(self) -> str:
        """Fork the relay; return the path of its namespace. Raises Fault."""
        self._relay, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._relay_pid = os.fork()
        if self._relay_pid == 0:
            with self.ending():
                self._relay.close()
                os.setsid()
                self._redirect(os.open(os.devnull, os.O_RDONLY))
                from shapecfg.run.relay import relay  # its loop takes a while to be imported

                relay(self._order, theirs, f"/proc/{os.readlink('/proc/self')}/ns/net")
        theirs.close()
        self._processes[self._relay_pid] = "relay"
        return self._told_by_relay(self._relay)

    def _told_by_relay(self, relay: socket.socket) -> str:
        """Return what the relay says next. Raises Fault when it ends instead."""
        self.wait(lambda: bool(select.select([relay], [], [], 0)[0]), "the relay")
        told = relay.recv(_MAX_LOG_BYTES).decode()
        if not told:
            raise Fault(f"relay ended{self.last_words()}")
        return told

    def is_relaying(self) -> bool:
        """Whether something that the command has sent is still on its way to pasta."""
        if self._relay is None:
            return False
        self._relay.send(relay_plan.ASKED)
        return self._told_by_relay(self._relay) == relay_plan.BUSY.decode()

    def prepare_way_out(self, namespace: str) -> None:
        """Fork what stays in the machine's network, before this process leaves it.

        Args:
            namespace: the path that the outer namespace will have.
        """
        waits, self._rules = os.pipe()
        pid = os.fork()
        if pid:
            os.close(waits)
            self._processes[pid] = "nft" if self._order.machine.is_privileged else "pasta"
            return
        with self.ending():
            os.close(self._rules)
            os.setsid()
            if self._order.machine.is_privileged:
                self._become_nft(waits)
            self._become_pasta(waits, namespace)

    def _become_pasta(self, waits: int, namespace: str) -> NoReturn:
        order = self._order
        _expect(waits, _BEGIN)
        # pasta gives up the right to open it below /proc before it does.
        spaces.own_mounts()
        spaces.mount_tmpfs(str(self.directory))
        shown = self.directory / "net"
        shown.touch()
        spaces.mount_over(namespace, str(shown))
        is_mapped = order.wishes.has_host_loopback
        argv = way_out.pasta(order.machine, str(shown), has_host_loopback=is_mapped)
        self._execute(order.tools.pasta, argv, os.open(os.devnull, os.O_RDONLY))

    def _become_nft(self, waits: int) -> NoReturn:
        order = self._order
        _expect(waits, _BEGIN)
        self.ip(way_out.lend(order.machine, 1))
        for name, value in way_out.lent_sysctls(order.machine).items():
            spaces.set_sysctl(name, value)
        self._execute(order.tools.nft, ["nft", "-i"], waits)

    def open_way_out(self) -> None:
        """Make the device towards the machine, in the outer namespace. Raises Fault."""
        os.write(self._rules, _BEGIN)
        if self._relay is not None:
            self.ip(relay_plan.join_relay(self._relay_pid))
            self._relay.send(relay_plan.BEGIN)
            self._told_by_relay(self._relay)
        self.wait(lambda: WAY_OUT in _devices(), "the way out")
        if self._order.machine.is_privileged:
            self._make_rules()
        self.ip(link_plan.open_way_out())

    def _make_rules(self) -> None:
        """Give nft its rules and wait until it has obeyed. Raises Fault."""
        order = self._order
        text = way_out.nft(order.machine, has_host_loopback=order.wishes.has_host_loopback)
        os.write(self._rules, f"{text}list tables\n".encode())
        tables = {" ".join(line.split()[:3]) for line in text.splitlines()}

        def is_done() -> bool:
            said = self._said()
            if "Error" in said:
                raise Fault(f"nft refuses the way out: {said.splitlines()[0]}")
            return tables <= set(said.splitlines())

        self.wait(is_done, "nft")

    def _execute(self, path: str, argv: list[str], standard_input: int) -> NoReturn:
        """Become a part of the link. pasta refuses to where SIGPIPE is ignored."""
        self._redirect(standard_input)
        for number in self._order.restored:
            signal.signal(number, signal.SIG_DFL)
        os.execv(path, argv)

    def _redirect(self, standard_input: int) -> None:
        """Take the terminal from this process."""
        for descriptor, standard in ((standard_input, 0), (self._log, 1), (self._log, 2)):
            os.dup2(descriptor, standard)

    def start_shaperd(self, configuration: str) -> None:
        """Start the private daemon in the outer namespace."""
        (self.directory / "shaper.toml").write_text(configuration, encoding="utf-8")
        argv = [sys.executable, "-m", "shaper.daemon", "--log-level", "warning"]
        for option, name in (("--socket", "org.shaper"), ("--state-dir", "state")):
            argv += [option, str(self.directory / name)]
        argv += ["--config", str(self.directory / "shaper.toml")]
        unwanted = ("NOTIFY_SOCKET", "LISTEN_", "SHAPER_", "WATCHDOG_", "JOURNAL_")
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(unwanted)
        }
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            cwd="/",
            env=environment,
            start_new_session=True,
        )
        self._processes[process.pid] = "shaperd"

    def are_active(self) -> bool:
        """Whether both shapers shape."""
        try:
            shapers = self.shapers()
        except CallError:
            return False
        active = {name for name, each in shapers.items() if each["state"] == "active"}
        return active == {UP, DOWN}

    def shapers(self) -> dict[str, Shaper]:
        """Return what `show` tells of each. Raises CallError."""
        return {each["ifname"]: each for each in self._client.show()}

    def name_of(self, pid: int) -> str | None:
        """Return what a process is to the link; None if it is no part of it."""
        return self._processes.get(pid)

    @contextlib.contextmanager
    def ending(self) -> Iterator[None]:
        """End a forked process here, whatever happens in it; the log has what did."""
        try:
            yield
        except (Fault, OSError) as error:
            os.write(self._log, f"{error}\n".encode())
        finally:
            os._exit(1)

    def ip(self, lines: Sequence[str]) -> None:
        """Carry out lines for `ip` where this process is. Raises Fault."""
        obey(self._order.tools.ip, ["-batch", "-"], "\n".join(lines))

    def wait(self, is_there: Callable[[], bool], what: str) -> None:
        """Wait for a part of the link. Raises Fault when it, or another part, does not live."""
        deadline = time.monotonic() + _START_S
        while not is_there():
            self._check()
            if time.monotonic() > deadline:
                raise Fault(f"{what} did not get ready within {_START_S:g} s{self.last_words()}")
            time.sleep(_POLL_S)

    def _check(self) -> None:
        for pid, name in self._processes.items():
            ended, _ = os.waitpid(pid, os.WNOHANG)
            if ended:
                raise Fault(f"{name} ended{self.last_words()}")

    def last_words(self) -> str:
        """Return what was written last, to be put behind a sentence."""
        lines = self._said().splitlines()
        return f": {lines[-1]}" if lines else ""

    def _said(self) -> str:
        """Return what the parts of the link have written."""
        return os.pread(self._log, _MAX_LOG_BYTES, 0).decode(errors="replace")


def _cover() -> Path:
    """Return a directory for what the daemons write; it is seen by them alone."""
    used = [os.path.realpath(each) for each in (sys.executable, *sys.path, __file__)]
    for cover in _COVERS:
        is_used = any(each == cover or each.startswith(f"{cover}/") for each in used)
        if Path(cover).is_dir() and not is_used:
            return Path(cover)
    raise Fault(f"none of {', '.join(_COVERS)} is a directory that can be covered")


def _devices() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def _expect(descriptor: int, wanted: bytes) -> None:
    """Wait for a byte; end this process if there is none, as the keeper is gone then."""
    if os.read(descriptor, 1) != wanted:
        os._exit(1)

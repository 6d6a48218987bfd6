"""The keeper: process 1 of the link, parent of all that belongs to it.

When it ends, however it does, the kernel ends every process of its process namespace, and then
the network namespaces with their devices, as nothing else holds them. It ends when the command
does, when the process that waits in the terminal does, and when a part of the link is gone.

It stays in the terminal's process group, so that the command is in it as well and is stopped,
continued and interrupted with it. A signal without a handler does nothing to a process 1.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import NoReturn

from shapecfg.client import CallError
from shapecfg.run import link_plan, spaces, summary
from shapecfg.run.configuration import shaper_toml
from shapecfg.run.link_plan import DOWN, UP
from shapecfg.run.order import Fault, Order
from shapecfg.run.parts import Parts

# Chosen.
_START_S = 10.0  # for the command to have its namespace, and its network
_MAX_MESSAGE_BYTES = 4096
_DRAIN_S = 5.0  # what is under way gets to leave
_DRAIN_STEP_S = 0.01

# Specified: include/net/tcp_states.h, as /proc/net/tcp has them: of a socket that its process has
# closed, and whose last data or FIN is not acknowledged.
_FIN_WAIT1, _LAST_ACK, _CLOSING = "04", "09", "0B"

# As shells have it.
NOT_EXECUTABLE, NOT_FOUND = 126, 127


def keep(order: Order, control: socket.socket) -> NoReturn:
    """Be process 1: make the link, run the command, tell `control` its end, and go."""
    status = 1
    try:
        spaces.die_with_parent()
        if signal.SIGINT in order.restored:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        told = _Keeper(order, control).run()
        status = 0
    except Fault as fault:
        told = {"failed": str(fault)}
    except CallError as failed:
        told = {"failed": str(failed)}
    except OSError as error:
        told = {"failed": str(error.strerror if error.filename is None else error)}
    with contextlib.suppress(OSError):
        control.send(json.dumps(told).encode())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class _Keeper:
    """One link and its command."""

    def __init__(self, order: Order, control: socket.socket) -> None:
        self._order = order
        self._control = control
        self._parts = Parts(order)
        self._inner = -1  # the network namespace of the command

    def run(self) -> dict[str, int | str]:
        """Return how the command ended. Raises Fault, CallError and OSError."""
        machine, wishes = self._order.machine, self._order.wishes
        spaces.keep_capabilities()
        outside = os.readlink("/proc/self")
        spaces.own_mounts()
        own = "1" if spaces.mount_proc() else outside
        self._cover_resolver()
        way_out = f"/proc/{own}/ns/net"
        if machine.has_relay:
            way_out = self._parts.start_relay()
        self._parts.prepare_way_out(way_out)
        spaces.unshare(spaces.CLONE_NEWNET)
        for name, value in link_plan.outer_sysctls(machine).items():
            spaces.set_sysctl(name, value)
        command, door = self._prepare_command()
        spaces.own_mounts()
        spaces.mount_tmpfs(str(self._parts.directory))
        self._parts.start_shaperd(shaper_toml(machine, wishes))
        self._parts.ip(link_plan.join(command))
        door.send(b"joined")
        self._parts.open_way_out()
        self._parts.wait(self._parts.are_active, "the shapers")
        self._parts.ip(link_plan.route(machine))
        return self._let_go(command, door)

    def _let_go(self, command: int, door: socket.socket) -> dict[str, int | str]:
        """Let the command begin, and return how it ended."""
        if door.recv(_MAX_MESSAGE_BYTES) != b"ready":
            raise Fault(f"the command has no network{self._parts.last_words()}")
        began = time.monotonic()
        self._control.send(json.dumps({"started": True}).encode())
        door.send(b"go")
        door.setblocking(True)
        refusal = door.recv(_MAX_MESSAGE_BYTES)
        if refusal:
            return dict(json.loads(refusal))
        ended = self._attend(command, began)
        self._drain()
        self._sum_up(ended)
        return {"status": ended.status, "signal": ended.signal or 0}

    def _cover_resolver(self) -> None:
        """Let the command ask for names where they are answered, and through the link alone."""
        text = self._order.resolver_text
        if text is None:
            return
        target = os.path.realpath("/etc/resolv.conf")
        spaces.mount_tmpfs(str(self._parts.directory))
        written = self._parts.directory / "resolv.conf"
        written.write_text(text, encoding="utf-8")
        with contextlib.suppress(FileNotFoundError):
            spaces.mount_over(str(written), target)
        spaces.unmount(str(self._parts.directory))

    def _prepare_command(self) -> tuple[int, socket.socket]:
        """Fork what will be the command, in a network of its own."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            with self._parts.ending():
                ours.close()
                self._control.close()
                self._become_command(theirs)
        theirs.close()
        ours.settimeout(_START_S)  # from now on
        _, descriptors, *_ = socket.recv_fds(ours, 1, 1)
        if not descriptors:
            raise Fault("a network namespace for the command cannot be made")
        self._inner = descriptors[0]
        return pid, ours

    def _become_command(self, door: socket.socket) -> NoReturn:
        order = self._order
        spaces.unshare(spaces.CLONE_NEWNET)
        for name, value in link_plan.inner_sysctls(order.machine, order.wishes).items():
            spaces.try_sysctl(name, value)
        gid = os.getgid()
        spaces.try_sysctl("net/ipv4/ping_group_range", f"{gid} {gid}")
        own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        socket.send_fds(door, [b"n"], [own])
        _expect(door)
        self._parts.ip(link_plan.furnish(order.machine))
        door.send(b"ready")
        _expect(door)
        if not order.machine.is_privileged:
            spaces.forget_capabilities()
        for number in order.restored:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, order.mask)
        try:
            os.execvp(order.wishes.command[0], order.wishes.command)
        except OSError as error:
            door.send(json.dumps(_refusal(order.wishes.command[0], error)).encode())
        os._exit(NOT_FOUND)

    def _attend(self, command: int, began: float) -> summary.Ended:
        """Pass signals on until the command ends. Raises Fault when the link breaks before."""
        wake, woken = os.pipe()
        for end in (wake, woken):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        while True:
            while (ended := _reap()) is not None:
                pid, status = ended
                if pid == command:
                    return _ended(status, time.monotonic() - began)
                if (name := self._parts.name_of(pid)) is not None:
                    raise Fault(f"the link broke: {name} ended")
            ready, _, _ = select.select([wake, self._control.fileno()], [], [])
            if wake in ready:
                os.read(wake, _MAX_MESSAGE_BYTES)
            if self._control.fileno() in ready:
                self._pass_on(command)

    def _pass_on(self, command: int) -> None:
        numbers = self._control.recv(_MAX_MESSAGE_BYTES)
        if not numbers:
            os._exit(1)  # the process in the terminal is gone
        for number in numbers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(command, number)

    def _drain(self) -> None:
        """Let what the command has sent, and its farewells, leave before the link goes."""
        deadline = time.monotonic() + _DRAIN_S
        spaces.enter_network(self._inner)
        while time.monotonic() < deadline and not self._is_gone():
            backlog = self._parts.shapers()[UP]["stats"]["backlog_packets"]
            if not (has_unsent() or backlog or self._parts.is_relaying()):
                return
            time.sleep(_DRAIN_STEP_S)

    def _is_gone(self) -> bool:
        """Whether the process in the terminal is, or wants to be."""
        return bool(select.select([self._control.fileno()], [], [], 0)[0])

    def _sum_up(self, ended: summary.Ended) -> None:
        order = self._order
        if order.is_quiet and order.json_fd is None:
            return
        shapers = self._parts.shapers()
        down, up = shapers[DOWN], shapers[UP]
        if not order.is_quiet:
            with contextlib.suppress(OSError):
                print(f"shapecfg: {summary.line(down, up)}", file=sys.stderr, flush=True)
        if order.json_fd is not None:
            text = summary.document(order.wishes.command, ended, down, up)
            with contextlib.suppress(OSError):
                os.write(order.json_fd, text.encode())


def has_unsent() -> bool:
    """Whether TCP of this network namespace still has something to send that was closed."""
    for kind in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/self/net/{kind}").read_text(encoding="ascii").splitlines():
                if line.split()[3] in (_FIN_WAIT1, _LAST_ACK, _CLOSING):
                    return True
    return False


def _expect(door: socket.socket) -> None:
    """Wait for a word; end this process if there is none, as the keeper is gone then."""
    if not door.recv(_MAX_MESSAGE_BYTES):
        os._exit(1)


def _reap() -> tuple[int, int] | None:
    """Return a child that ended and its status; None if there is none."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


def _ended(status: int, seconds: float) -> summary.Ended:
    code = os.waitstatus_to_exitcode(status)
    return summary.Ended(code if code >= 0 else 128 - code, -code if code < 0 else None, seconds)


def _refusal(name: str, error: OSError) -> dict[str, int | str]:
    is_missing = isinstance(error, FileNotFoundError)
    return {
        "failed": f"cannot run {name!r}: {error.strerror}",
        "status": NOT_FOUND if is_missing else NOT_EXECUTABLE,
    }

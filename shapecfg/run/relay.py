"""The relay: ends TCP of the command before pasta, and carries its bytes on.

The TCP of pasta sends all of its window again for each duplicate acknowledgement, and takes no
segment out of order: behind a link that loses frames it drowns in copies of its own. So where
frames are lost on purpose the kernel's TCP is at both ends of the link, and pasta is reached over
a device that loses nothing. What the kernel accepts for the relay is connected to the original
destination then; if that refuses, the command's connection is reset.

It is one process in a namespace of its own; see `relay_plan`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import resource
import socket
import struct
import termios
import time
from typing import NoReturn

from shapecfg.run import link_plan, relay_plan, spaces
from shapecfg.run.order import Fault, Order, obey
from shapecfg.run.relay_plan import ASKED, BEGIN, BUSY, IDLE, READY

# Specified: include/uapi/linux/netfilter_ipv4.h; the same for IPv6.
_SO_ORIGINAL_DST = 80

# Specified by include/net/tcp_states.h and socket(7), SO_LINGER.
_ESTABLISHED = 1
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

# Chosen.
_START_S = 10.0  # for its devices to be there
_POLL_S = 0.005
_BYTES = 1 << 16  # read at once
_WAITING = 1024  # to be accepted; what finds no room tries again a second later


class RelayedConnection:
    """One connection of the command.

    Args:
        reader: what the command sends.
        writer: towards the command.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._client: socket.socket = writer.get_extra_info("socket")
        self._server: asyncio.StreamWriter | None = None
        self._has_passed_on = False  # all that the command sent

    async def carry(self) -> None:
        """Connect to where the command wanted to, and carry bytes until both sides end."""
        try:
            wanted = _destination(self._client)
            if wanted == self._client.getsockname()[:2]:
                raise ConnectionRefusedError  # the relay itself, which would go on for ever
            reader, self._server = await asyncio.open_connection(*wanted)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(self._server))
                group.create_task(_pump(reader, self._writer))
        except (OSError, ExceptionGroup):
            for each in (self._writer, self._server):
                if each is not None:
                    _reset(each)
            return
        for each in (self._writer, self._server):
            each.close()

    async def _pass_on(self, server: asyncio.StreamWriter) -> None:
        await _pump(self._reader, server)
        self._has_passed_on = True

    def is_pending(self) -> bool:
        """Whether the command has ended it, and something of it has not arrived at pasta."""
        try:
            state = self._client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
            if state == _ESTABLISHED:
                return False
            return not self._has_passed_on or _unsent_bytes(self._server) > 0
        except OSError:
            return False


class Relay:
    """All connections of the command.

    Args:
        control: the keeper asks whether any is pending.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._carried: dict[asyncio.Task[None], RelayedConnection] = {}

    async def serve(self, listeners: list[socket.socket]) -> None:
        """Carry what comes; never returns."""
        asyncio.get_running_loop().add_reader(self._control, self._answer)
        for listener in listeners:
            await asyncio.start_server(self._accept, sock=listener, backlog=_WAITING)
        await asyncio.Event().wait()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = RelayedConnection(reader, writer)
        task = asyncio.ensure_future(connection.carry())
        self._carried[task] = connection
        task.add_done_callback(self._carried.pop)

    def _answer(self) -> None:
        if self._control.recv(len(ASKED)) != ASKED:
            os._exit(0)  # the keeper is gone
        is_busy = any(each.is_pending() for each in self._carried.values())
        self._control.send(BUSY if is_busy else IDLE)


def relay(order: Order, control: socket.socket, namespace: str) -> NoReturn:
    """Make the namespace, tell `control` its path, and carry once it has its devices.

    Args:
        order: what the keeper is to do.
        control: the keeper's.
        namespace: the path that it will have.

    Raises:
        Fault, OSError: there is no relay.
    """
    spaces.unshare(spaces.CLONE_NEWNET)
    for name, value in link_plan.outer_sysctls(order.machine).items():
        spaces.set_sysctl(name, value)
    control.send(namespace.encode())
    if control.recv(len(BEGIN)) != BEGIN:
        os._exit(0)
    deadline = time.monotonic() + _START_S
    wanted = {link_plan.WAY_OUT, relay_plan.LINK}
    while not wanted <= {name for _, name in socket.if_nameindex()}:
        if time.monotonic() > deadline:
            raise Fault(f"no device of {sorted(wanted)} within {_START_S:g} s")
        time.sleep(_POLL_S)
    obey(order.tools.ip, ["-batch", "-"], "\n".join(relay_plan.furnish_relay(order.machine)))
    obey(order.tools.nft, ["-f", "-"], relay_plan.relay_rules(order.machine))
    _, most_descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_descriptors, most_descriptors))
    listeners = _listeners(order.machine)
    control.send(READY)
    asyncio.run(Relay(control).serve(listeners))
    os._exit(0)


def _listeners(machine: link_plan.RunMachine) -> list[socket.socket]:
    own = link_plan.addresses(machine.number)
    listeners = []
    if machine.has_ipv4:
        listeners.append(socket.create_server((own.resolver, relay_plan.PORT)))
    if machine.has_ipv6:
        address = (own.relay6, relay_plan.PORT)
        listeners.append(socket.create_server(address, family=socket.AF_INET6))
    return listeners


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry one direction, with its end."""
    while data := await reader.read(_BYTES):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def _destination(client: socket.socket) -> tuple[str, int]:
    """Return where a connection was meant for, before the rules led it here."""
    if client.family == socket.AF_INET:
        told = client.getsockopt(socket.IPPROTO_IP, _SO_ORIGINAL_DST, 16)
        return socket.inet_ntop(socket.AF_INET, told[4:8]), int.from_bytes(told[2:4])
    told = client.getsockopt(socket.IPPROTO_IPV6, _SO_ORIGINAL_DST, 28)
    return socket.inet_ntop(socket.AF_INET6, told[8:24]), int.from_bytes(told[2:4])


def _unsent_bytes(writer: asyncio.StreamWriter | None) -> int:
    """Return what is not acknowledged yet. Raises OSError where it is closed."""
    if writer is None:
        return 0
    queued = fcntl.ioctl(writer.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(queued, "little") + writer.transport.get_write_buffer_size()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection as one that broke."""
    with contextlib.suppress(OSError):
        client: socket.socket = writer.get_extra_info("socket")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()

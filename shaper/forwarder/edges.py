"""The real edges of a path: the TAP that is read and the packet socket that is written.

Both descriptors were opened by the supervisor and do not block. Other forwarders have the same
socket, so every send says so itself. See packet(7) for the errors.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct

from shaper.channel.messages import Bind
from shaper.forwarder.ports import MAX_BATCH, READ_BYTES, Batch, Outcome, Room
from shaper.forwarder.ring_meter import RingMeter
from shaper.forwarder.sendmmsg import Messages
from shaper.model import Framing
from shaper.packet.checksum import complete
from shaper.packet.frame import VNET_HEADER_BYTES, parse_frame
from shaper.packet.headerless import strip_link_header
from shaper.packet.segment import split

_MOST_FRAMES = 1 << 17  # chosen: more than any ring holds, and an end under a flood
_FEW_FRAMES = 4  # chosen: by themselves they cost less than by sendmmsg, with cold caches
_ETHERNET_HEADER_BYTES = 14
_SOCKADDR_LL = struct.Struct("=HHiHBB8s")  # include/uapi/linux/if_packet.h; the protocol is htons

_OUTCOMES = {
    errno.EAGAIN: Outcome.BLOCKED,
    errno.ENOBUFS: Outcome.NOBUFS,
    errno.ENOMEM: Outcome.NOBUFS,  # also of a device without a queue that could not segment
    errno.EMSGSIZE: Outcome.OVERSIZE,
    errno.ENETDOWN: Outcome.GONE,
    errno.ENXIO: Outcome.GONE,
    errno.ENODEV: Outcome.GONE,
    errno.EPROTONOSUPPORT: Outcome.PROTOCOL,  # drivers/net/wireguard/device.c
    errno.EAFNOSUPPORT: Outcome.PROTOCOL,
    errno.EPFNOSUPPORT: Outcome.PROTOCOL,
    errno.ENOKEY: Outcome.UNREACHABLE,  # wireguard: no peer is allowed this address
    errno.EDESTADDRREQ: Outcome.UNREACHABLE,  # wireguard: its endpoint is not known yet
    errno.EHOSTUNREACH: Outcome.UNREACHABLE,
    errno.ENETUNREACH: Outcome.UNREACHABLE,
    errno.EINVAL: Outcome.MALFORMED,
}

# Plain names: to look a member of an enum up costs as much as a call.
_SENT = Outcome.SENT
_MSG_DONTWAIT = int(socket.MSG_DONTWAIT)


def outcome_of(number: int) -> Outcome:
    """Return what became of a frame that the kernel refused with this errno."""
    return _OUTCOMES.get(number, Outcome.ERROR)


class TapSource:
    """A TAP; every read(2) gives one frame.

    Args:
        descriptor: the open TAP, which does not block.
        slots: where batches are read to.
    """

    def __init__(self, descriptor: int, slots: Room) -> None:
        self._descriptor = descriptor
        self._slots = slots
        self._ahead: list[bytes] = []  # read before their turn
        self.is_gone = self.is_failing = False
        self.failure = 0
        self.lost = 0
        self.meter: RingMeter | None = None

    def fileno(self) -> int:
        """Return the TAP's descriptor."""
        return self._descriptor

    def read(self, limit: int, *, until_empty: bool = False) -> list[bytes]:
        """Return up to `limit` virtio-net headers and frames; fewer when the ring is empty.

        Where the ring is metered, that is known without a read that fails.

        A TAP that was deleted under us answers EBADFD. Whatever the failure is, the TAP is not
        read until `is_gone` is set to False.
        """
        batch: list[bytes] = []
        if self._ahead:
            batch, self._ahead = self._ahead[:limit], self._ahead[limit:]
        if self.is_gone:
            return batch
        read, append, descriptor, meter = os.read, batch.append, self._descriptor, self.meter
        before, is_empty = len(batch), False
        room = limit - before
        if meter is not None:
            waiting = meter.waiting()
            if 0 < waiting < room and not until_empty:
                room = waiting
        try:
            for _ in range(room):
                append(read(descriptor, READ_BYTES))
        except BlockingIOError:
            is_empty = True
        except OSError as error:
            self._failed(error.errno)
        if meter is not None:
            meter.took(len(batch) - before, is_empty=is_empty)
        return batch

    def read_one(self) -> bytes | None:
        """Return a virtio-net header and a frame, or None if nothing waits."""
        if self._ahead:
            return self._ahead.pop(0)
        if self.is_gone:
            return None
        try:
            data = os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            self._failed(error.errno)
            return None
        if self.meter is not None:
            self.meter.alone += 1
        return data

    def fill(self, limit: int) -> Batch:
        """Return a batch in the slots, which all sources and sinks of the forwarder share."""
        if self._ahead:
            batch, self._ahead = self._ahead[:limit], self._ahead[limit:]
            self._slots.put(batch)
            return self._slots
        if self.meter is not None:
            self.meter.waiting()
        number = self._slots.fill(self._descriptor, 0 if self.is_gone else limit)
        self._slots.is_drained |= self.is_gone
        if self.meter is not None:
            self.meter.took(self._slots.count, is_empty=number == errno.EAGAIN)
        if number not in (0, errno.EAGAIN):
            self._failed(number)
        return self._slots

    def _failed(self, number: int | None) -> None:
        self.lost += not self.is_failing and number != errno.EBADFD
        self.is_gone = self.is_failing = True
        self.failure = number or errno.EIO

    def absorb(self) -> None:
        """Read the ring empty; `read` gives what was in it first."""
        self._ahead = self.read(_MOST_FRAMES, until_empty=True)

    def close(self) -> None:
        """Close our copy of the descriptor; the supervisor still holds the device."""
        self._slots.release(self._descriptor)
        os.close(self._descriptor)


# One batch is under way at a time, so all sinks share its 32 kB.
_MESSAGES = Messages(MAX_BATCH)


class _PacketSocket(socket.socket):
    """A socket that can be described without asking the kernel for its name.

    Python describes one that is dropped unclosed, and by then the sandbox does not let it ask.
    """

    def __repr__(self) -> str:
        return f"<packet socket {self.fileno()}>"


class PacketSink:
    """A packet socket on a device with an Ethernet header: frames pass untouched.

    Args:
        descriptor: the socket.
        keeps_neighbours: ARP and the like pass.
        removed_bytes: of the header, where it is taken off behind the socket.
    """

    def __init__(
        self, descriptor: int, *, keeps_neighbours: bool = False, removed_bytes: int = 0
    ) -> None:
        self.keeps_neighbours = keeps_neighbours
        self.removed_bytes = removed_bytes
        self._descriptor = descriptor
        self._socket = _PacketSocket(fileno=descriptor)  # last: from here on it closes it
        self._send = self._socket.send  # not write(2), which the sandbox keeps from the TAP

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    def write(self, batch: list[bytes]) -> tuple[int, Outcome]:
        """Send frames through the master's own queue: many in one system call, few one by one."""
        if len(batch) > _FEW_FRAMES:
            sent, number = _MESSAGES.send(self._descriptor, batch)
            return sent, outcome_of(number) if number else _SENT
        send, sent = self._send, 0
        try:
            for data in batch:
                send(data, _MSG_DONTWAIT)
                sent += 1
        except OSError as error:
            return sent, outcome_of(error.errno or 0)
        return sent, _SENT

    def write_batch(self, batch: Batch) -> tuple[int, Outcome]:
        """Send a batch from where it lies."""
        sent, number = batch.send(self._descriptor)
        return sent, outcome_of(number) if number else Outcome.SENT

    def write_one(self, data: bytes) -> Outcome:
        """Send a frame by itself, which needs no message headers."""
        try:
            self._send(data, _MSG_DONTWAIT)
        except OSError as error:
            return outcome_of(error.errno or 0)
        return _SENT

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class HeaderlessSink:
    """A packet socket on a master without a link-layer header (tun, wireguard).

    The Ethernet header is taken off and its type travels in the address, from which such devices
    learn the protocol. The address carries an index and no name, so a renamed master stays; the
    socket module only takes names, hence ctypes.
    """

    removed_bytes = _ETHERNET_HEADER_BYTES

    def __init__(self, descriptor: int, *, keeps_neighbours: bool = False) -> None:
        self.keeps_neighbours = keeps_neighbours
        self._libc = ctypes.CDLL(None, use_errno=True)
        (self._ifindex,) = struct.unpack_from("=i", self._sockname(descriptor), 4)
        self._socket = _PacketSocket(fileno=descriptor)  # last: from here on it closes it

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    def write(self, batch: list[bytes]) -> tuple[int, Outcome]:
        """Send IP packets, without the headers they were read with, one by one."""
        for sent, data in enumerate(batch):
            outcome = self.write_one(data)
            if outcome is not Outcome.SENT:
                return sent, outcome
        return len(batch), Outcome.SENT

    def write_batch(self, batch: Batch) -> tuple[int, Outcome]:
        """Send the packets of a batch."""
        return self.write(batch.take())

    def write_one(self, data: bytes) -> Outcome:
        """Send an IP packet, without the header it was read with."""
        stripped = strip_link_header(data)
        if stripped is None:
            return Outcome.PROTOCOL
        return self._transmit(*stripped)

    def _transmit(self, packet: bytes, ethertype: int) -> Outcome:
        address = _SOCKADDR_LL.pack(
            socket.AF_PACKET, socket.htons(ethertype), self._ifindex, 0, 0, 0, b""
        )
        sent = self._libc.sendto(
            self._socket.fileno(),
            packet,
            len(packet),
            socket.MSG_DONTWAIT,
            address,
            len(address),
        )
        if sent >= 0:
            return Outcome.SENT
        return outcome_of(ctypes.get_errno())

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _sockname(self, descriptor: int) -> bytes:
        address = ctypes.create_string_buffer(_SOCKADDR_LL.size)
        length = ctypes.c_uint32(_SOCKADDR_LL.size)
        if self._libc.getsockname(descriptor, address, ctypes.byref(length)) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return address.raw


class CookedSink(HeaderlessSink):
    """A packet socket of kind SOCK_DGRAM (ppp): a packet is all that it takes.

    Nothing tells it of segments or of a checksum to fill in. A TAP is asked for neither, but what
    was read before it was asked is cut and summed here.
    """

    def __init__(self, descriptor: int, *, keeps_neighbours: bool = False) -> None:
        super().__init__(descriptor, keeps_neighbours=keeps_neighbours)
        self._cut: tuple[bytes, int] = (b"", 0)  # a frame, and how many of its segments were sent

    def write_one(self, data: bytes) -> Outcome:
        """Send an IP packet, or all segments of one; when blocked, go on where that was."""
        segments = [data] if not data[1] else [each.data for each in split(parse_frame(data))]
        sent = self._cut[1] if self._cut[0] is data else 0
        for index in range(sent, len(segments)):
            outcome = self._write_segment(segments[index])
            if outcome is not Outcome.SENT:
                self._cut = (data, index)
                return outcome
        self._cut = (b"", 0)
        return Outcome.SENT

    def _write_segment(self, data: bytes) -> Outcome:
        stripped = strip_link_header(complete(data))
        if stripped is None:
            return Outcome.PROTOCOL
        packet, ethertype = stripped
        return self._transmit(packet[VNET_HEADER_BYTES:], ethertype)


_HEADERLESS: dict[Framing, type[HeaderlessSink]] = {
    Framing.BARE: HeaderlessSink,
    Framing.COOKED: CookedSink,
}


def make_sink(order: Bind, descriptor: int) -> PacketSink | HeaderlessSink:
    """Return the sink for a master."""
    is_captured, removed_bytes = order.is_captured, order.removed_bytes
    if order.framing is Framing.ETHERNET:
        return PacketSink(descriptor, keeps_neighbours=is_captured, removed_bytes=removed_bytes)
    return _HEADERLESS[order.framing](descriptor, keeps_neighbours=is_captured)

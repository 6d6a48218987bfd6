"""The real edges of a path: the TAP that is read and the packet socket that is written.

Both descriptors were opened by the supervisor and do not block. See packet(7) for the errors.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct

from shaper.discipline.frame import strip_link_header
from shaper.forwarder.ports import Outcome

# The virtio-net header, and the largest offload frame with its headers (gso_max_size is 64 kB).
_READ_BYTES = 10 + 65536 + 64

_ETHERNET_HEADER_BYTES = 14
_SOCKADDR_LL = struct.Struct("=HHiHBB8s")  # include/uapi/linux/if_packet.h; the protocol is htons

_OUTCOMES = {
    errno.EAGAIN: Outcome.BLOCKED,
    errno.ENOBUFS: Outcome.NOBUFS,
    errno.EMSGSIZE: Outcome.OVERSIZE,
    errno.ENETDOWN: Outcome.GONE,
    errno.ENXIO: Outcome.GONE,
    errno.ENODEV: Outcome.GONE,
}


class TapSource:
    """A TAP, read one frame a call."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.is_gone = False

    def fileno(self) -> int:
        """Return the TAP's descriptor."""
        return self._descriptor

    def read(self) -> bytes | None:
        """Return one virtio-net header and frame, or None when the ring is empty.

        A TAP that was deleted under us answers EBADFD; the supervisor hears of it from netlink
        and closes this path.
        """
        try:
            return os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno != errno.EBADFD:
                raise
            self.is_gone = True
            return None

    def close(self) -> None:
        """Close our copy of the descriptor; the supervisor still holds the device."""
        os.close(self._descriptor)


class PacketSink:
    """A packet socket on a master with an Ethernet header: frames pass untouched."""

    removed_bytes = 0

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    def write(self, data: bytes) -> Outcome:
        """Send one frame through the master's own queue."""
        try:
            self._socket.send(data)
        except OSError as error:
            return _OUTCOMES.get(error.errno or 0, Outcome.ERROR)
        return Outcome.SENT

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class HeaderlessSink:
    """A packet socket on a master without a link-layer header (ppp, tun, wireguard).

    The Ethernet header is taken off and its type travels in the address, from which such devices
    learn the protocol. The address carries an index and no name, so a renamed master stays; the
    socket module only takes names, hence ctypes.
    """

    removed_bytes = _ETHERNET_HEADER_BYTES

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._libc = ctypes.CDLL(None, use_errno=True)
        (self._ifindex,) = struct.unpack_from("=i", self._sockname(), 4)

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    def write(self, data: bytes) -> Outcome:
        """Send one IP packet, without the header it was read with."""
        stripped = strip_link_header(data)
        if stripped is None:
            return Outcome.PROTOCOL
        packet, ethertype = stripped
        address = _SOCKADDR_LL.pack(
            socket.AF_PACKET, socket.htons(ethertype), self._ifindex, 0, 0, 0, b""
        )
        sent = self._libc.sendto(
            self._socket.fileno(), packet, len(packet), 0, address, len(address)
        )
        if sent >= 0:
            return Outcome.SENT
        return _OUTCOMES.get(ctypes.get_errno(), Outcome.ERROR)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _sockname(self) -> bytes:
        address = ctypes.create_string_buffer(_SOCKADDR_LL.size)
        length = ctypes.c_uint32(_SOCKADDR_LL.size)
        if self._libc.getsockname(self._socket.fileno(), address, ctypes.byref(length)) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return address.raw

"""What is sent, how much of it, and what each end counted.

Pure but for the socket that a flow needs.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

ETHERNET_BYTES = 14
IP_BYTES = {4: 20, 6: 40}
UDP_BYTES = 8
FULL_FRAME_BYTES = 1514  # of an MTU of 1500


@dataclass(frozen=True)
class Flow:
    """Where traffic goes."""

    protocol: str  # tcp or udp
    address: str  # IPv4 or IPv6
    port: int

    @property
    def version(self) -> int:
        """The version of IP."""
        return ipaddress.ip_address(self.address).version

    @property
    def target(self) -> tuple[str, int]:
        """Address and port."""
        return self.address, self.port

    def payload_bytes(self, frame_bytes: int) -> int:
        """Return the UDP payload that makes a frame of a given size on the wire."""
        return frame_bytes - ETHERNET_BYTES - IP_BYTES[self.version] - UDP_BYTES

    def socket(self) -> socket.socket:
        """Open a socket of the flow's kind."""
        family = socket.AF_INET if self.version == 4 else socket.AF_INET6
        kind = socket.SOCK_STREAM if self.protocol == "tcp" else socket.SOCK_DGRAM
        return socket.socket(family, kind)


@dataclass(frozen=True)
class Load:
    """How much of it is sent."""

    seconds: float  # for how long, at most
    total_bytes: int = 0  # of payload, at most; 0 is no limit
    frame_bytes: int = FULL_FRAME_BYTES  # of UDP, the size of each frame on the wire
    pace_bits: int = 0  # of UDP, the rate on the wire; 0 is as fast as it goes
    send_buffer_bytes: int = 0  # of UDP, what may wait in the sender; 0 leaves it to the kernel


@dataclass(frozen=True)
class Received:
    """What a sink counted: payload bytes, and datagrams or connections."""

    payload_bytes: int
    units: int


@dataclass
class Sent:
    """What a sender counted."""

    payload_bytes: int = 0
    units: int = 0  # datagrams or connections
    failures: int = 0  # attempts that failed
    error: str = ""  # the last reason for one
    cpu_s: float = 0.0  # the processor time its process used

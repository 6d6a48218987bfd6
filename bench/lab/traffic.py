"""Traffic between namespaces: senders and sinks as processes of their own, bounded in time.

A sink counts what arrives until it is stopped. A sender sends for a time or a number of bytes.
TCP that is bounded in time is cut off (the receiver gets what arrived so far); bounded in bytes
it is closed in order, so everything arrives. The far side of this file is `bench.lab.pump`.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
from dataclasses import dataclass
from typing import Any

from bench.lab.namespaces import Namespace
from bench.lab.worker import Worker

PUMP = "bench.lab.pump"
SLACK_S = 10.0  # chosen: what a sender gets beyond its own time to end

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

    def payload_bytes(self, frame_bytes: int) -> int:
        """Return the UDP payload that makes a frame of a given size on the wire."""
        return frame_bytes - ETHERNET_BYTES - IP_BYTES[self.version] - UDP_BYTES


@dataclass(frozen=True)
class Load:
    """How much of it is sent.

    Attributes:
        seconds: for how long, at most.
        total_bytes: of payload, at most; 0 is no limit.
        frame_bytes: of UDP, the size of each frame on the wire.
        pace_bits: of UDP, the rate on the wire; 0 is as fast as it goes.
        send_buffer_bytes: of TCP, what may wait in the sender; 0 leaves it to the kernel.

    """

    seconds: float
    total_bytes: int = 0
    frame_bytes: int = FULL_FRAME_BYTES
    pace_bits: int = 0
    send_buffer_bytes: int = 0


@dataclass(frozen=True)
class Received:
    """What a sink counted: payload bytes, and datagrams or connections."""

    payload_bytes: int
    units: int


@dataclass(frozen=True)
class Sent:
    """What a sender did: payload bytes, datagrams, attempts that failed, and the last error."""

    payload_bytes: int
    units: int
    failures: int
    error: str


class Sink(Worker):
    """Receives one flow, at its address; a context manager."""

    def __init__(self, namespace: Namespace, flow: Flow) -> None:
        super().__init__(namespace, PUMP, "sink", json.dumps(dataclasses.asdict(flow)))

    def __enter__(self) -> Sink:
        return self

    def stop(self) -> Received:
        """End it and return what arrived."""
        return Received(**json.loads(self.finish()))


class Sender(Worker):
    """Sends one flow; a context manager."""

    def __init__(self, namespace: Namespace, flow: Flow, load: Load) -> None:
        self._seconds = load.seconds
        chosen: list[dict[str, Any]] = [dataclasses.asdict(flow), dataclasses.asdict(load)]
        super().__init__(namespace, PUMP, "send", *map(json.dumps, chosen))

    def __enter__(self) -> Sender:
        return self

    def wait(self) -> Sent:
        """Wait until it has sent all and return what it sent."""
        return Sent(**json.loads(self.finish(self._seconds + SLACK_S)))

"""Traffic between namespaces: senders and sinks as processes of their own, bounded in time.

A sink counts what arrives until it is stopped. A sender sends for a time or a number of bytes.
TCP that is bounded in time is cut off (the receiver gets what arrived so far); bounded in bytes
it is closed in order, so everything arrives. What the processes do is in `bench.lab.pump` and
`bench.lab.datagrams`.
"""

from __future__ import annotations

from bench.lab.datagrams import Course, Datagrams
from bench.lab.flow import FULL_FRAME_BYTES, Flow, Load, Received, Sent
from bench.lab.namespaces import Namespace
from bench.lab.pump import Filler, Receiver
from bench.lab.task import Task

__all__ = ["FULL_FRAME_BYTES", "Flow", "Load", "Received", "Sender", "Sent", "Sink"]

SLACK_S = 10.0  # chosen: what a sender gets beyond its own time to end


class Sink(Task):
    """Receives one flow, at its address; a context manager."""

    def __init__(self, namespace: Namespace, flow: Flow) -> None:
        super().__init__(namespace, Receiver({flow: 0.0}))

    def stop(self, seconds: float = 0.0) -> Received:
        """End it and return what arrived."""
        streams = super().stop(seconds).streams
        payload_bytes = sum(each.first_bytes + each.payload_bytes for each in streams)
        units = sum(each.datagrams if each.flow.protocol == "udp" else 1 for each in streams)
        return Received(payload_bytes, units)


class Sender(Task):
    """Sends one flow; a context manager."""

    def __init__(self, namespace: Namespace, flow: Flow, load: Load) -> None:
        self._seconds = load.seconds
        if flow.protocol == "tcp":
            super().__init__(namespace, Filler([flow], load))
        else:
            course = Course(flow.target, load.frame_bytes, load.pace_bits)
            super().__init__(namespace, Datagrams([course], load))

    def wait(self) -> Sent:
        """Wait until it has sent all and return what it sent."""
        sent: Sent = self.result(self._seconds + SLACK_S)
        return sent

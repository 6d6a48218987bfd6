"""How a shaper that is not in force is told of without being asked: by `show`, or by an alarm.

An alarm takes seconds, so that of traffic that passes by is decided here: by the daemon's own
code, the kernel's own routes and a clock that runs as fast as is looked. `test_alarms` has the
daemon raise it.
"""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from bench.lab.namespaces import Namespace
from shapecfg.client import Client
from shapecfg.warnings import general
from shaper.kernel.glance import Glance
from shaper.kernel.netlink import Netlink
from shaper.supervisor.bypass import Bypasses
from tests.kernel.steps import PORT

STATE, WARNING, ALARM, NOTHING = "state", "warning", "alarm", ""
LOOKS = 3  # the first finds the way, the second that something leaves by it
STEP_NS = 6 * 10**9  # so long that the routes are listed anew


class Lookout:
    """What the daemon would tell of the shapers of a namespace."""

    def __init__(self, host: Namespace, daemon_socket: Path) -> None:
        self._host = host
        self._client = Client(str(daemon_socket))
        with host.enter():
            self._glance = Glance()
            self._netlink = Netlink()
        self._now_ns = 0
        self.begin()

    def close(self) -> None:
        """Close the sockets."""
        self._glance.close()
        self._netlink.close()

    def begin(self) -> None:
        """Begin anew."""
        self._bypasses = Bypasses(self._glance, self._netlink, str, self._indices)
        self.see()

    def see(self) -> None:
        """Take note of where traffic leads through shapers now."""
        self._now_ns += STEP_NS
        for ifindex in self._indices():
            self._bypasses.sent(ifindex, self._now_ns)

    def told_by(self) -> str:
        """Return what tells that something is wrong: a state, a warning, an alarm, or nothing."""
        answer = self._client.overview()
        shapers = answer["shapers"]
        if any(each["state"] != "active" for each in shapers):
            return STATE
        if any(each["warnings"] for each in shapers) or [*general(answer)]:
            return WARNING
        return ALARM if self._is_passed_by() else NOTHING

    def _is_passed_by(self) -> bool:
        for _ in range(LOOKS):
            before = self._sent()
            self._send()
            self._now_ns += STEP_NS
            after = self._sent()
            still = [each for each, count in after.items() if before.get(each) == count]
            self._bypasses.look(still, self._now_ns)
        return any(self._bypasses.of(each) for each in self._indices())

    def _send(self) -> None:
        """Send a datagram to each destination that led through a shaper."""
        for ifindex in self._indices():
            for target in self._bypasses.targets(ifindex):
                family = socket.AF_INET if target.version == 4 else socket.AF_INET6
                with self._host.enter(), contextlib.suppress(OSError):
                    sender = socket.socket(family, socket.SOCK_DGRAM)
                    with sender:
                        sender.sendto(b"", (str(target), PORT))

    def _indices(self) -> list[int]:
        return [each["ifindex"] for each in self._client.show() if each["ifindex"]]

    def _sent(self) -> dict[int, int]:
        return {each["ifindex"]: each["stats"]["sent_packets"] for each in self._client.show()}

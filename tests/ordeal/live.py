"""Frames that no sender would send, through a real shaper: each is sent, or counted as dropped."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Iterator
from typing import Any

from bench.lab.daemon import Shaperd
from bench.lab.topology import Pair, make_pair
from bench.lab.wait import wait_until
from tests.kernel.steps import SHAPER, dropped, shape, show, wait_carrier
from tests.ordeal.campaign import Trial, campaign
from tests.ordeal.frames import frame

FRAMES_A_REPETITION = 1000
_VNET_HEADER_BYTES = 10
_LEAST_BYTES = 14  # what the kernel takes for a frame
_PACKET_VNET_HDR = 15
_SOL_PACKET = 263


class Injector:
    """Puts frames into a shaper as a sender on this machine could; a context manager.

    Attributes:
        accepted: how many the kernel took.
    """

    def __init__(self, pair: Pair, source: random.Random) -> None:
        self.accepted = 0
        self._source = source
        with pair.host.enter():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
            self._socket.bind((SHAPER, 0))

    def __enter__(self) -> Injector:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def put(self, frames: int) -> None:
        """Send so many random frames, without a header of offload, so that each counts as one."""
        while frames:
            data = frame(self._source)[_VNET_HEADER_BYTES:]
            if len(data) >= _LEAST_BYTES:
                frames -= 1
                with contextlib.suppress(OSError):  # the kernel refuses some by itself
                    self._socket.send(bytes(_VNET_HEADER_BYTES) + data)
                    self.accepted += 1


def uncounted(daemon: Shaperd, accepted: int) -> int:
    """Return how many frames are neither sent nor counted as dropped, once none waits."""

    def missing() -> int:
        shown: dict[str, Any] = show(daemon)
        return accepted - int(shown["stats"]["sent_packets"]) - dropped(shown)

    with contextlib.suppress(Exception):
        wait_until(lambda: missing() == 0, "all are accounted for", seconds=5)
    return missing()


@contextlib.contextmanager
def fuzzed(source: random.Random) -> Iterator[tuple[Shaperd, Injector]]:
    """Make a shaper that is fast enough to send all it is given, and a way to put frames in."""
    with make_pair() as pair, Shaperd(pair.host) as daemon:
        shape(daemon, pair, "1gbit")
        wait_carrier(pair.host, is_on=True)
        with Injector(pair, source) as injector:
            yield daemon, injector


@campaign("frames fuzzed live", count=1000)
def fuzz_live(trial: Trial) -> None:
    """The forwarder survives every frame, and each is accounted for."""
    with fuzzed(random.Random()) as (daemon, injector):
        pids = daemon.forwarder_pids()
        for _ in trial:
            injector.put(FRAMES_A_REPETITION)
            lost = uncounted(daemon, injector.accepted)
            trial.lost(lost)
            if lost or daemon.forwarder_pids() != pids:
                trial.failed(f"{lost} frames uncounted; {daemon.log()[-500:]}")

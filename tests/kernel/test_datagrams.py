"""Datagrams of many fragments arrive through a slow shaper that is idle."""

from __future__ import annotations

import socket

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.topology import REMOTE, Pair
from tests.kernel.steps import PORT, shape

FRAGMENT_BYTES = 1480
SECONDS = 10.0  # the longest takes 4.4


@pytest.mark.parametrize(
    "options", [("queue", "fq_codel"), ("queue", "fifo")], ids=["fq_codel", "fifo"]
)
def test_a_datagram_of_eleven_fragments_arrives(
    pair: Pair, shaperd: Shaperd, options: tuple[str, ...]
) -> None:
    """Twice in a row, each into an idle queue, at 64 kbit/s, though a fifo holds ten frames."""
    shape(shaperd, pair, "64kbit")
    shaperd.configure("set", "shaper0", *options)
    with pair.peer.enter():
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with pair.host.enter():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    payload = bytes(11 * FRAGMENT_BYTES - 8)
    with receiver, sender:
        receiver.settimeout(SECONDS)
        receiver.bind((REMOTE, PORT))
        for _ in range(2):
            sender.sendto(payload, (REMOTE, PORT))
            assert len(receiver.recv(len(payload) + 1)) == len(payload)

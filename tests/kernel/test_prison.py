"""What a forwarder can do once it is taken over: what it holds, and what holds it."""

from __future__ import annotations

import errno
import socket

import pytest

from bench.lab.topology import HOST, MASTER, NIC, Pair
from bench.lab.wait import wait_until
from shaper.kernel.packet_socket import open_packet_socket
from tests.kernel.steps import ETH_P_ALL, Tapper

SO_DETACH_FILTER = 27  # include/uapi/asm-generic/socket.h
SO_LOCK_FILTER = 44
BEACON = b"heard on the wire"


def send_beacon(pair: Pair) -> None:
    """Send a datagram to the host, from the far end of the cable."""
    with pair.peer.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(BEACON, (HOST, 9))


def test_a_packet_socket_hears_nothing_whatever_it_is_bound_to(pair: Pair) -> None:
    """Bound anew to every protocol, beside a socket that hears the wire, it reads no frame."""
    with (
        pair.host.enter(),
        open_packet_socket(MASTER) as sock,
        Tapper(pair.host, MASTER) as tapper,
    ):
        sock.bind((MASTER, ETH_P_ALL))
        send_beacon(pair)
        wait_until(lambda: any(BEACON in frame for frame in tapper.frames()), "the beacon")
        with pytest.raises(BlockingIOError):
            sock.recv(2048)


def test_what_deafens_a_packet_socket_cannot_be_taken_off(pair: Pair) -> None:
    """The filter stays, locked, also for one that holds every capability; the socket sends."""
    with pair.host.enter(), open_packet_socket(MASTER) as sock, Tapper(pair.peer, NIC) as tapper:
        for option, value in ((SO_DETACH_FILTER, 1), (SO_LOCK_FILTER, 0)):
            with pytest.raises(PermissionError) as refused:
                sock.setsockopt(socket.SOL_SOCKET, option, value)
            assert refused.value.errno == errno.EPERM
        frame = b"\xff" * 6 + b"\x02" * 6 + b"\x88\xb5" + BEACON.ljust(64)
        sock.send(bytes(10) + frame)  # behind a virtio-net header of nothing
        wait_until(lambda: any(BEACON in frame for frame in tapper.frames()), "the frame")

"""A path whose frames were taken from a device: what is that device's own passes, ARP too."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from shaper.forwarder.slots import Slots
from shaper.model import Queue, Settings
from shaper.packet.frame import VNET_HEADER_BYTES
from tests.unit.path_rig import MS, SETTINGS, PathRig

ARP = bytes(VNET_HEADER_BYTES) + b"\xff" * 6 + bytes(6) + b"\x08\x06" + bytes(28)
TAGGED_ARP = ARP[:22] + b"\x81\x00\x00\x05" + ARP[22:]
IP = ARP[:22] + b"\x08\x00\x45" + bytes(45)


def captured(settings: Settings) -> PathRig:
    """Return a path of frames that were taken from a device."""
    rig = PathRig(settings)
    rig.sink.keeps_neighbours = True
    rig.path.bind(rig.sink)
    return rig


@pytest.mark.parametrize("queue", list(Queue))
@pytest.mark.parametrize("batch", [[ARP], [TAGGED_ARP], [IP, ARP, IP], [ARP] * 3])
def test_arp_of_a_device_passes(queue: Queue, batch: list[bytes]) -> None:
    """Alone or among others, at once or by way of the queue."""
    rig = captured(replace(SETTINGS, queue=queue))
    rig.source.frames.extend(batch)
    rig.run(0)
    rig.run_to(10_000 * MS)
    assert sorted(rig.sink.frames) == sorted(batch)
    assert rig.count("neighbour") == 0


def test_frames_that_wait_for_a_master_wait_as_they_came() -> None:
    """A master that is gone for a while changes nothing of that."""
    rig = captured(SETTINGS)
    rig.path.bind(None)
    rig.source.frames.append(ARP)
    rig.path.flush()
    rig.run(0)
    assert (rig.count("neighbour"), rig.count("flush")) == (0, 1)


def test_a_batch_in_its_slots_keeps_its_arp() -> None:
    """Its size counts that, too; of what was routed the batch may not leave as it is."""
    entrance, source = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with entrance, source:
        for data in (ARP, IP):
            entrance.send(data)
        source.setblocking(False)
        slots = Slots()
        slots.fill(source.fileno(), 64)
    size = slots.measure(0, keeps_neighbours=True)
    assert size is not None
    assert (size.packets, size.wire_bytes) == (2, len(ARP) + len(IP) - 2 * VNET_HEADER_BYTES)
    assert slots.measure(0) is None

"""Messages and descriptors cross the channel whole, and its end is told."""

from __future__ import annotations

import os

from shaper.channel import messages
from shaper.model import Queue, Settings

SETTINGS = Settings(64_000, 1514, 3000, Queue.CLASSIC, 10, 100)


def test_settings_survive_the_journey() -> None:
    """What is packed at one end is unpacked to the same at the other; None stays None."""
    ours, theirs = messages.pair()
    with ours, theirs:
        messages.send(ours, {"settings": messages.pack_settings(SETTINGS)})
        received = messages.receive(theirs)
    assert received is not None
    assert messages.unpack_settings(received[0]["settings"]) == SETTINGS
    assert messages.unpack_settings(messages.pack_settings(None)) is None


def test_a_descriptor_goes_along() -> None:
    """The other side gets a descriptor of its own to the same open file."""
    ours, theirs = messages.pair()
    reader, writer = os.pipe()
    with ours, theirs:
        messages.send(ours, {"verb": "open"}, writer)
        os.close(writer)
        received = messages.receive(theirs)
    assert received is not None
    message, descriptor = received
    assert message == {"verb": "open"}
    assert descriptor is not None
    os.write(descriptor, b"x")
    os.close(descriptor)
    assert os.read(reader, 2) == b"x"
    os.close(reader)


def test_a_closed_end_is_told() -> None:
    """None means that the other side is gone."""
    ours, theirs = messages.pair()
    ours.close()
    with theirs:
        assert messages.receive(theirs) is None

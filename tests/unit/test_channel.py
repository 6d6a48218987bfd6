"""Messages and descriptors cross the channel whole, and nothing else comes out of it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator

import pytest

from shaper.channel import messages
from shaper.channel.messages import Begin, Bind, Configure, Done, Malformed, Open, Ping, ReadFailed
from shaper.model import Framing, Queue, Settings

SETTINGS = Settings(64_000, 1514, 3000, Queue.CLASSIC, 10, 100)

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Return the supervisor's end and the forwarder's."""
    ours, theirs = messages.pair()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize(
    "order",
    [Begin(7), Configure(3, SETTINGS), Configure(3, None), Bind(1, Framing.COOKED, True), Ping()],
)
def test_orders_survive_the_journey(ends: Ends, order: messages.Order) -> None:
    """What is sent at one end is received as the same at the other."""
    messages.send_order(ends[0], 5, order)
    assert messages.receive_order(ends[1]) == (5, order, None)


@pytest.mark.parametrize("report", [Done(3), Done(4, "no such slot"), ReadFailed(2, 5)])
def test_reports_survive_the_journey(ends: Ends, report: messages.Report) -> None:
    """Answers and notices arrive as they were sent."""
    messages.send_report(ends[1], report)
    assert messages.receive_report(ends[0]) == report


def test_a_descriptor_goes_along(ends: Ends) -> None:
    """The other side gets a descriptor of its own to the same open file."""
    reader, writer = os.pipe()
    messages.send_order(ends[0], 1, Open(0), writer)
    os.close(writer)
    received = messages.receive_order(ends[1])
    assert received is not None
    assert received.order == Open(0)
    assert received.descriptor is not None
    os.write(received.descriptor, b"x")
    os.close(received.descriptor)
    assert os.read(reader, 2) == b"x"
    os.close(reader)


def test_a_closed_end_is_told() -> None:
    """None means that the other side is gone."""
    ours, theirs = messages.pair()
    ours.close()
    with theirs:
        assert messages.receive_order(theirs) is None
    ours, theirs = messages.pair()
    theirs.close()
    with ours:
        assert messages.receive_report(ours) is None


GARBAGE = [
    b"\xff\xfe",
    b"{",
    b"null",
    b"[]",
    b"[" * 4000,
    b"1" * 4000,
    b'{"report": "Done"}',
    b'{"report": "Done", "serial": "1", "failed": null}',
    b'{"report": "Done", "serial": 1.5, "failed": null}',
    b'{"report": "Done", "serial": NaN, "failed": null}',
    b'{"report": "Done", "serial": 1, "failed": {}}',
    b'{"report": "ReadFailed", "slot": null, "number": 5}',
    b'{"report": "ReadFailed", "slot": 0, "number": 1000000000000000000000}',
    b'{"report": "ReadFailed", "slot": 0, "number": -1}',
    b'{"report": "Open", "slot": 1}',
    b'{"report": ["Done"], "serial": 1}',
    b'{"report": "\\ud800", "serial": 1}',
    json.dumps({"report": "Done", "serial": 1, "failed": "x" * 9000}).encode(),
]


@pytest.mark.parametrize("payload", GARBAGE)
def test_what_is_no_report_is_refused(ends: Ends, payload: bytes) -> None:
    """Whatever a forwarder sends, one kind of error comes of it."""
    ends[1].send(payload)
    with pytest.raises(Malformed):
        messages.receive_report(ends[0])


def test_what_a_forwarder_says_is_a_line(ends: Ends) -> None:
    """It goes into the log and to terminals, where it may not look like something else."""
    said = {"report": "Done", "serial": 1, "failed": "a\n<0>shaperd: b\x1b[2J\ud800"}
    ends[1].send(json.dumps(said).encode())
    assert messages.receive_report(ends[0]) == Done(1, "a?<0>shaperd: b?[2J?")


def test_no_descriptor_is_accepted_from_a_forwarder(ends: Ends) -> None:
    """Descriptors that come with a report are closed by the kernel, as many as they are."""
    reader, writer = os.pipe()
    payload = b'{"report": "Done", "serial": 1, "failed": null}'
    socket.send_fds(ends[1], [payload], [writer] * 200)
    os.close(writer)
    before = len(os.listdir("/proc/self/fd"))
    assert messages.receive_report(ends[0]) == Done(1)
    assert len(os.listdir("/proc/self/fd")) == before
    assert os.read(reader, 1) == b""  # every copy of the writing end is closed
    os.close(reader)

"""Netlink messages: an answer is read to its end, and devices are read as pyroute2 does."""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest
from pyroute2.netlink.rtnl import RTM_DELLINK, RTM_GETLINK, RTM_NEWLINK, RTM_NEWNEIGH
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.marshal import MarshalRtnl
from pyroute2.netlink.rtnl.ndmsg import ndmsg

from shaper.kernel.links import parse_link
from shaper.kernel.netlink_messages import decode_events
from shaper.kernel.wire import Wire

ACKNOWLEDGED, DONE = 2, 3
DUMP = 0x301


class AnsweringKernel:
    """A netlink socket whose datagrams were written in advance.

    Attributes:
        answers: a datagram each; its messages are made of a type and what follows the header.
        serial_step: what is added to the serial number of the request in each answer.
    """

    def __init__(self) -> None:
        self.answers: list[list[tuple[int, bytes]]] = []
        self.serial_steps: list[int] = []
        self.sent = b""
        self.is_closed = False
        self.interrupted = 0  # answers, from now on, during which the table changes

    def open(self) -> AnsweringKernel:
        """Return a socket, which is itself."""
        return self

    def close(self) -> None:
        """Note it."""
        self.is_closed = True

    def send(self, data: bytes) -> None:
        """Keep a request."""
        self.sent = bytes(data)

    def recv(self, size: int) -> bytes:
        """Return the next datagram."""
        if not self.answers:
            raise TimeoutError("timed out")
        step = self.serial_steps.pop(0) if self.serial_steps else 0
        (serial,) = struct.unpack_from("=I", self.sent, 8)
        answer = self.answers.pop(0)
        data = b"".join(message(*each, serial=serial + step) for each in answer)
        if self.interrupted > 0:
            self.interrupted -= 1
            data = data[:6] + b"\x10\0" + data[8:]
        return data[:size]


@pytest.fixture
def kernel() -> AnsweringKernel:
    """Return what a socket leads to."""
    return AnsweringKernel()


def message(kind: int, payload: bytes, serial: int = 0) -> bytes:
    """Return a message behind its header."""
    return struct.pack("=IHHII", 16 + len(payload), kind, 0, serial, 0) + payload


def payload(made: Any, **fields: Any) -> bytes:
    """Return what pyroute2 makes of a message, without the header."""
    made.update(fields)
    made.encode()
    return bytes(made.data[16:])


def device(index: int, *attributes: tuple[str, Any]) -> bytes:
    """Return what tells of a device."""
    return payload(ifinfmsg(), index=index, ifi_type=1, flags=0x10081, attrs=list(attributes))


def number(value: int) -> bytes:
    """Return the end of an answer: 0 or an errno, negative."""
    return struct.pack("=i", value)


def test_a_request_is_sent_whole(kernel: AnsweringKernel) -> None:
    """It has the type, the flags and a serial number of its own."""
    kernel.answers = [[(ACKNOWLEDGED, number(0))]] * 2
    wire = Wire(kernel.open)
    for serial in (1, 2):
        assert wire.ask(RTM_GETLINK, DUMP, ifinfmsg()) == []
        assert struct.unpack_from("=IHHI", kernel.sent) == (32, RTM_GETLINK, DUMP, serial)
    wire.close()
    assert kernel.is_closed


def test_an_answer_is_read_to_its_end(kernel: AnsweringKernel) -> None:
    """A dump comes in several datagrams of several messages each."""
    kernel.answers = [
        [(RTM_NEWLINK, device(1)), (RTM_NEWLINK, device(2))],
        [(RTM_NEWLINK, device(3))],
        [(DONE, number(0))],
    ]
    assert [each["index"] for each in Wire(kernel.open).ask(RTM_GETLINK, DUMP, ifinfmsg())] == [
        1,
        2,
        3,
    ]


def test_the_answer_to_another_request_is_passed_over(kernel: AnsweringKernel) -> None:
    """What came too late for the request before is not taken for the answer to this one."""
    late = [(RTM_NEWLINK, device(1)), (ACKNOWLEDGED, number(-errno.EPERM))]
    kernel.answers = [late, [(RTM_NEWLINK, device(2)), (ACKNOWLEDGED, number(0))]]
    kernel.serial_steps = [-1, 0]
    assert [each["index"] for each in Wire(kernel.open).ask(RTM_GETLINK, 5, ifinfmsg())] == [2]


@pytest.mark.parametrize("kind", [ACKNOWLEDGED, DONE])
def test_a_refusal_has_its_number(kernel: AnsweringKernel, kind: int) -> None:
    """At once, or at the end of a dump that went wrong."""
    kernel.answers = [[(RTM_NEWLINK, device(1)), (kind, number(-errno.ENODEV))]]
    with pytest.raises(OSError, match="No such device") as refused:
        Wire(kernel.open).ask(RTM_GETLINK, DUMP, ifinfmsg())
    assert refused.value.errno == errno.ENODEV


def test_no_answer_is_an_error(kernel: AnsweringKernel) -> None:
    """The daemon waits for the kernel no longer than it must."""
    with pytest.raises(TimeoutError):
        Wire(kernel.open).ask(RTM_GETLINK, DUMP, ifinfmsg())


ATTRIBUTES = [
    ("IFLA_IFNAME", "eth0.7"),
    ("IFLA_MTU", 9000),
    ("IFLA_ADDRESS", "02:00:00:00:00:0a"),
    ("IFLA_TXQLEN", 1000),
    ("IFLA_OPERSTATE", "DORMANT"),
    ("IFLA_LINK", 1),
    ("IFLA_MASTER", 9),
    ("IFLA_IFALIAS", "shaper of eth1 at 64Kbit"),
    ("IFLA_GSO_MAX_SIZE", 65536),
]


@pytest.mark.parametrize("kind", [RTM_NEWLINK, RTM_DELLINK])
@pytest.mark.parametrize("count", [0, 5, len(ATTRIBUTES)])
def test_a_device_is_read_as_pyroute2_reads_it(kind: int, count: int) -> None:
    """With all attributes or with some, the same is understood."""
    data = message(kind, device(7, *ATTRIBUTES[:count]))
    (ours,) = decode_events(data)
    (theirs,) = MarshalRtnl().parse(data)
    assert parse_link(ours) == parse_link(theirs)
    for name in ("event", "family", "index", "ifi_type", "flags"):
        assert ours[name] == theirs[name]
    assert ours.get_attr("IFLA_IFALIAS") == theirs.get_attr("IFLA_IFALIAS")


def test_a_device_of_another_namespace_below_is_seen_as_such() -> None:
    """Its index means nothing here."""
    away = device(7, ("IFLA_LINK", 4), ("IFLA_LINK_NETNSID", 0))
    (told,) = decode_events(message(RTM_NEWLINK, away))
    assert parse_link(told).lower is None


def test_a_name_may_be_any_bytes() -> None:
    """The kernel takes names that are no text; nobody is to stumble over them."""
    (told,) = decode_events(message(RTM_NEWLINK, device(7, ("IFLA_IFNAME", b"\xff\xfe0"))))
    assert parse_link(told).ifname.encode(errors="surrogateescape") == b"\xff\xfe0"


def test_neighbours_are_told_beside_devices() -> None:
    """One datagram may have messages of both kinds."""
    fields = {"family": 2, "ifindex": 7, "state": 2, "attrs": [("NDA_DST", "10.0.0.2")]}
    entry = message(RTM_NEWNEIGH, payload(ndmsg(), **fields))
    neighbour, link = decode_events(entry + message(RTM_NEWLINK, device(7)))
    assert (neighbour["event"], neighbour.get_attr("NDA_DST")) == ("RTM_NEWNEIGH", "10.0.0.2")
    assert (link["event"], link["index"]) == ("RTM_NEWLINK", 7)


@pytest.mark.parametrize("data", [b"", b"\0" * 15, b"\0" * 40])
def test_what_is_too_short_is_nothing(data: bytes) -> None:
    """Bytes that cannot be a message end the reading, and do not hold it up."""
    assert list(decode_events(data)) == []


def devices(*indices: int) -> list[tuple[int, bytes]]:
    """Return a dump of devices with these indices."""
    told = [(RTM_NEWLINK, payload(ifinfmsg(), index=each)) for each in indices]
    return [*told, (DONE, bytes(4))]


def test_a_dump_of_a_table_that_changed_is_asked_for_again(kernel: AnsweringKernel) -> None:
    """NLM_F_DUMP_INTR says that entries may be missing: the answer to take is a later one."""
    kernel.answers = [devices(1), devices(1), devices(1, 2)]
    kernel.interrupted = 2
    found = Wire(kernel.open).ask(RTM_GETLINK, DUMP, ifinfmsg())
    assert [each["index"] for each in found] == [1, 2]


def test_a_table_that_never_rests_is_refused(kernel: AnsweringKernel) -> None:
    """An answer that is never complete is an error, so that what is believed stays."""
    kernel.answers = [devices(1)] * 100
    kernel.interrupted = 100
    with pytest.raises(BlockingIOError) as raised:
        Wire(kernel.open).ask(RTM_GETLINK, DUMP, ifinfmsg())
    assert raised.value.errno == errno.EAGAIN


def test_an_answer_that_was_cut_off_is_asked_for_with_more_room(kernel: AnsweringKernel) -> None:
    """A device with many virtual functions takes more than a datagram of the usual size."""
    large = payload(ifinfmsg(), index=1) + struct.pack("=HH", 60_000, 20) + bytes(59_996)
    kernel.answers = [[(RTM_NEWLINK, large), (RTM_NEWLINK, large), (DONE, bytes(4))]] * 2
    found = Wire(kernel.open).ask(RTM_GETLINK, DUMP, ifinfmsg())
    assert [each["index"] for each in found] == [1, 1]


def test_half_an_answer_is_not_left_on_the_socket(kernel: AnsweringKernel) -> None:
    """After a failure to receive, the socket is another one."""
    wire = Wire(kernel.open)
    with pytest.raises(TimeoutError):
        wire.ask(RTM_GETLINK, DUMP, ifinfmsg())
    assert kernel.is_closed

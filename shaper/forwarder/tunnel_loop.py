"""Frames that come back: a tunnel as master, with its far end routed over its own shaper.

What such a shaper sends comes back to it, encapsulated once more, and is sent again, for ever: a
tunnel does not hand down what is left of a hop limit. The tunnel may encrypt, and a program may
make it, so nothing in a frame says where it comes from. Its length does. Encapsulation adds the
same every time, so a frame that goes round is met again and again, longer by a constant, each time
after the shorter one was sent and in the order in which they were.

The law: a flow is a loop once a frame of it has come round `_ROUNDS` times in that way. Its frames
are then dropped for `_BAN_NS`, and after that it has to be shown anew. Each frame is thus sent
about `_ROUNDS` times. A lone frame that is dropped is a question: a loop cannot go on from what
was not sent. If the next one is longer by the same, as where a program tries lengths, the flow is
none, and is left alone for as long.

How it works. The last frames sent are remembered, in order, by length and flow. A frame that
arrives is held against those sent after the one that the last frame of its flow was found to be a
copy of. If it is a copy of one, it has come round once more than that. Fragments are held against
them as the datagram that they are of.

Traffic that is no loop: frames of random lengths are copies of one another by chance, with a
probability of less than 1/20 (4 frames are looked at; a cipher of 16 byte blocks leaves 90
lengths), so one of 10**15 has a history of `_ROUNDS`. Frames of a few lengths have none: it takes
`_ROUNDS` of them at equal distances, or fragments. And of a flow that is no loop most of what is
sent never comes back, of which an account is kept.

ICMP carries no tunnel, and is left alone: some of its senders do sweep lengths, a step each time
that they are answered.

Limits. Offload frames are not remembered, and IPv6 fragments are taken for frames. Where more than
a third of the frames are lost on their way round, a loop may not be found.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from shaper.packet.flow import identify
from shaper.packet.frame import ETHERTYPE, IPV4, IPV6, VNET_HEADER_BYTES

# Specified: RFC 791, RFC 8200.
_NETWORK = VNET_HEADER_BYTES + 14
_IPV4_PROTOCOL = _NETWORK + 9
_IPV4_ADDRESSES = slice(_NETWORK + 12, _NETWORK + 20)
_IPV4_FRAGMENT = slice(_NETWORK + 6, _NETWORK + 8)
_IPV4_IDENTIFICATION = slice(_NETWORK + 4, _NETWORK + 8)
_IPV4_BYTES = _NETWORK + 20
_IPV6_NEXT = _NETWORK + 6
_IPV6_ADDRESSES = slice(_NETWORK + 8, _NETWORK + 40)
_IPV6_BYTES = _NETWORK + 40
_MORE_FRAGMENTS = 0x2000
_OFFSET = 0x1FFF
_IS_FRAGMENT = _MORE_FRAGMENTS | _OFFSET

_NO_TUNNELS = (1, 58)  # ICMP, ICMPv6

# Specified: what tunnels add at the least (IP in IP), and no two of them at the most.
_LEAST_ADDED_BYTES = 20
_MOST_ADDED_BYTES = 240

# Chosen.
_ROUNDS = 12
_BAN_NS = 1_000_000_000
_QUIET_NS = 10_000_000_000  # between two pieces of news
_MAX_SENT = 1024
_MAX_AGE_NS = 50_000_000  # from sending a frame to its return
_NEXT_FRAMES = 4  # that is how many may be lost in a row, and one
_LAST_FRAMES = 8  # that are looked at where a flow was lost track of
_MAX_FLOWS = 64
_TAIL_BYTES = 24
_FADING = 31 / 32


class _Sent(NamedTuple):
    number: int
    length: int
    ends: bytes
    rounds: int
    at_ns: int


@dataclass
class _Flow:
    """What has arrived between two hosts.

    Attributes:
        last: the number of the frame that the last arrival was a copy of.
        added_bytes: how much longer a frame becomes.
        returned: how many of its own frames came back, older ones counting less.
        missed: the same of those that did not.
        unlikely_bytes: the length that a copy of a frame would have that was just dropped.
        acquitted_until_ns: it was shown to be no loop.
    """

    last: int
    added_bytes: int = 0
    returned: float = 0.0
    missed: float = 0.0
    unlikely_bytes: int = 0
    acquitted_until_ns: int = 0

    @property
    def returns(self) -> bool:
        """Whether what is sent of it comes back as a rule."""
        return self.returned > 2 * self.missed


class LoopWatch:
    """Finds flows that consist of what was sent before.

    Attributes:
        now_ns: the time, to be kept current.
        has_news: a loop was found; the reader resets it.
    """

    def __init__(self) -> None:
        self.now_ns = 0
        self.has_news = False
        self._news_at_ns = 0
        self._sent: deque[_Sent] = deque(maxlen=_MAX_SENT)
        self._number = 0
        self._flows: OrderedDict[bytes, _Flow] = OrderedDict()
        self._rounds: OrderedDict[bytes, int] = OrderedDict()  # of frames not yet sent
        self._banned_until: dict[bytes, int] = {}

    def sent(self, frames: list[bytes]) -> None:
        """Remember frames that the master took, as they were read from the TAP."""
        for data in frames:
            if not data[1]:
                self._number += 1
                rounds = self._rounds.get(_name(data), 0) if self._rounds else 0
                packet_bytes = len(data) - _NETWORK
                self._sent.append(
                    _Sent(self._number, packet_bytes, _ends(data), rounds, self.now_ns)
                )

    def is_returning(self, data: bytes) -> bool:
        """Whether a frame that was read is of a loop, and to be dropped."""
        ends = _ends(data)
        if data[1] or not ends or ends[0] in _NO_TUNNELS:
            return False
        if self._banned_until and self._is_banned(identify(data)):
            return True
        flow = self._flow(ends)
        is_asked, is_acquitted = self._acquit(flow, data)
        rounds = self._count_rounds(flow, ends, data)
        if rounds >= _ROUNDS and flow.returns and not is_acquitted:
            self._convict(flow, data, is_asked=is_asked)
            return True
        if rounds:
            self._rounds[_name(data)] = rounds
            if len(self._rounds) > _MAX_SENT:
                self._rounds.popitem(last=False)
        return False

    def _acquit(self, flow: _Flow, data: bytes) -> tuple[bool, bool]:
        """Return whether a flow's last frame was dropped to see, and whether it is no loop."""
        unlikely_bytes, flow.unlikely_bytes = flow.unlikely_bytes, 0
        is_lone = flow.last == self._number
        if unlikely_bytes and is_lone and _whole_bytes(data) == unlikely_bytes:
            flow.acquitted_until_ns = self.now_ns + _BAN_NS
        return bool(unlikely_bytes), self.now_ns < flow.acquitted_until_ns

    def _convict(self, flow: _Flow, data: bytes, *, is_asked: bool) -> None:
        """Take a flow for a loop, if need be at the second frame of it that has come round."""
        whole_bytes = _whole_bytes(data)
        if is_asked or whole_bytes is None or flow.last != self._number:
            self._ban(identify(data))
        else:
            flow.unlikely_bytes = whole_bytes + flow.added_bytes
            self._tell()

    def _ban(self, identity: bytes) -> None:
        if len(self._banned_until) >= _MAX_FLOWS:
            self._banned_until.clear()
        self._banned_until[identity] = self.now_ns + _BAN_NS
        self._tell()

    def _tell(self) -> None:
        self.has_news |= self.now_ns >= self._news_at_ns
        if self.has_news:
            self._news_at_ns = self.now_ns + _QUIET_NS

    def _is_banned(self, identity: bytes) -> bool:
        until_ns = self._banned_until.get(identity)
        if until_ns is None:
            return False
        if self.now_ns >= until_ns:
            del self._banned_until[identity]
            return False
        return True

    def _count_rounds(self, flow: _Flow, ends: bytes, data: bytes) -> int:
        """Return how many times a frame has come round, and follow its flow."""
        packet_bytes = len(data) - _NETWORK
        datagram_bytes = _datagram_bytes(data)
        missed = 0
        for sent in self._next(flow):
            is_own = sent.ends == ends
            rounds = sent.rounds if is_own else 0
            # Of a datagram in fragments the length is known when the last one comes.
            arrived_bytes = datagram_bytes or max(packet_bytes + 1, sent.length + flow.added_bytes)
            added_bytes = arrived_bytes - sent.length
            is_copy = _is_encapsulation(added_bytes) and self.now_ns - sent.at_ns <= _MAX_AGE_NS
            if is_copy and (rounds < 2 or added_bytes == flow.added_bytes):
                if datagram_bytes is not None:
                    self._follow(flow, sent, added_bytes, is_own=is_own, missed=missed)
                return rounds + 1
            missed += is_own
        if datagram_bytes is not None:
            self._resynchronize(flow, datagram_bytes)
        return 0

    def _next(self, flow: _Flow) -> Iterator[_Sent]:
        """Return the frames that the next arrival may be a copy of."""
        first = max(0, flow.last - self._number + len(self._sent))
        for position in range(first, min(first + _NEXT_FRAMES, len(self._sent))):
            yield self._sent[position]

    def _follow(
        self, flow: _Flow, sent: _Sent, added_bytes: int, *, is_own: bool, missed: int
    ) -> None:
        flow.last, flow.added_bytes = sent.number, added_bytes
        flow.returned = flow.returned * _FADING + is_own
        flow.missed = flow.missed * _FADING + missed

    def _resynchronize(self, flow: _Flow, arrived_bytes: int) -> None:
        """Go on from the last frame that an arrival may be a copy of, if there is one."""
        flow.missed = flow.missed * _FADING + 1
        for sent in islice(reversed(self._sent), _LAST_FRAMES):
            if self.now_ns - sent.at_ns > _MAX_AGE_NS:
                return
            if _is_encapsulation(arrived_bytes - sent.length):
                flow.last = sent.number
                return

    def _flow(self, ends: bytes) -> _Flow:
        flow = self._flows.get(ends)
        if flow is None:
            flow = self._flows[ends] = _Flow(self._number - _NEXT_FRAMES)
            if len(self._flows) > _MAX_FLOWS:
                self._flows.popitem(last=False)
        else:
            self._flows.move_to_end(ends)
        return flow


def _is_encapsulation(added_bytes: int) -> bool:
    return _LEAST_ADDED_BYTES <= added_bytes <= _MOST_ADDED_BYTES


def _name(data: bytes) -> bytes:
    """Return what tells a frame from others on its way through the queue, which may mark it."""
    return data[_IPV4_IDENTIFICATION] + len(data).to_bytes(4) + data[-_TAIL_BYTES:]


def _ends(data: bytes) -> bytes:
    """Return addresses and protocol of an IP packet, of fragments too; nothing of others."""
    ethertype = data[ETHERTYPE]
    if ethertype == IPV4 and len(data) >= _IPV4_BYTES:
        return data[_IPV4_PROTOCOL : _IPV4_PROTOCOL + 1] + data[_IPV4_ADDRESSES]
    if ethertype == IPV6 and len(data) >= _IPV6_BYTES:
        return data[_IPV6_NEXT : _IPV6_NEXT + 1] + data[_IPV6_ADDRESSES]
    return b""


def _whole_bytes(data: bytes) -> int | None:
    """Return the length of a packet that is no fragment."""
    if data[ETHERTYPE] == IPV4 and int.from_bytes(data[_IPV4_FRAGMENT], "big") & _IS_FRAGMENT:
        return None
    return len(data) - _NETWORK


def _datagram_bytes(data: bytes) -> int | None:
    """Return the length of the datagram that a packet is or ends; None before its end."""
    packet_bytes = len(data) - _NETWORK
    if data[ETHERTYPE] != IPV4:
        return packet_bytes
    fragment = int.from_bytes(data[_IPV4_FRAGMENT], "big")
    if fragment & _MORE_FRAGMENTS:
        return None
    return packet_bytes + (fragment & _OFFSET) * 8

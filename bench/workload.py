"""What is sent, and the words for it: kinds of traffic, and the rates they are sent at."""

from __future__ import annotations

from dataclasses import dataclass

UNLIMITED_BITS = 100 * 10**9  # beyond what any machine here can do
UNITS = ((10**9, "Gbit/s"), (10**6, "Mbit/s"), (10**3, "kbit/s"), (1, "bit/s"))


@dataclass(frozen=True)
class Traffic:
    """What crosses the link at the same time."""

    name: str  # in tables
    tcp_flows: int = 0  # connections that are kept filled
    udp_frame_bytes: int = 0  # on the wire, of the datagrams sent beside them; 0: none
    is_pinged: bool = True  # unless datagrams are all there is, or there is no time for it
    udp_percent: int = 120  # of the rate, what is sent of those, whatever is lost

    @property
    def is_stream(self) -> bool:
        """Whether any of it is TCP."""
        return self.tcp_flows > 0


# A payload of 1000 bytes and the smallest frame of Ethernet, both without the check sequence
# but the small one counted with it (60 + 4) as everybody counts it: 64 bytes on the wire here.
UDP_SMALL = Traffic("UDP 64 B", udp_frame_bytes=64)
UDP_LARGE = Traffic("UDP 1000 B", udp_frame_bytes=1042)
TCP_1 = Traffic("1 TCP flow", tcp_flows=1)
TCP_4 = Traffic("4 TCP flows", tcp_flows=4)
TCP_8 = Traffic("8 TCP flows", tcp_flows=8)
TCP_32 = Traffic("32 TCP flows", tcp_flows=32)
FLOOD = Traffic("1 TCP flow, UDP flood", tcp_flows=1, udp_frame_bytes=1042, udp_percent=1000)
IDLE = Traffic("idle")
DELAYED = Traffic("idle, delay 20 ms")


def spell_rate(rate_bits: float, form: str = "g") -> str:
    """Write a rate with the unit in which it is at least one."""
    if rate_bits == UNLIMITED_BITS:
        return "unlimited"
    scale, unit = next((each for each in UNITS if rate_bits >= each[0]), UNITS[-1])
    return f"{rate_bits / scale:{form}} {unit}"

"""Those in use are taken over first."""

from __future__ import annotations

from shaper.model import Spec
from shaper.supervisor.precedence import Precedence
from shaper.testing.memory_netlink import MemoryNetlink
from tests.unit.instantly import instantly


class CountingNetlink(MemoryNetlink):
    """Devices that have sent something."""

    def __init__(self, **sent: int) -> None:
        super().__init__()
        self.sent = sent

    def sent_packets(self) -> dict[str, int]:
        """Return what they have sent by now."""
        return dict(self.sent)


@instantly
async def test_what_sends_goes_before_what_has_sent() -> None:
    """Then what never has, or is not there; those alike stay as they were."""
    netlink = CountingNetlink(idle=0, once=7, used=7, new=0, busy=1000)
    precedence = Precedence(netlink, is_needed=True)
    precedence.look()
    netlink.sent |= {"used": 8, "new": 1, "busy": 2000}
    names = ["gone", "idle", "once", "used", "new", "busy"]
    ordered = precedence.order(map(Spec, names))
    assert [spec.ifname for spec in ordered] == ["used", "new", "busy", "once", "gone", "idle"]

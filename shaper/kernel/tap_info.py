"""What the kernel tells of a TAP: by which its owner knows it again. See drivers/net/tun.c."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from shaper.kernel.netlink_messages import Message, attributes

# Specified: include/uapi/linux/if_link.h, if_tun.h.
_IFLA_INFO_KIND = 1
_IFLA_INFO_DATA = 2
_IFLA_TUN_OWNER = 1
_IFLA_TUN_GROUP = 2
_IFLA_TUN_TYPE = 3
_IFLA_TUN_PI = 4
_IFLA_TUN_VNET_HDR = 5
_IFF_TAP = 0x0002

_KIND = b"tun"  # of a TAP as well


@dataclass(frozen=True)
class TapInfo:
    """A TAP as it was made and set up.

    Attributes:
        owner: the user that may open it; None: anybody, or a kernel that does not tell.
        group: the same of a group.
        has_our_format: frames with a virtio-net header and no other.
    """

    owner: int | None
    group: int | None
    has_our_format: bool


def parse_tap(message: Message) -> TapInfo | None:
    """Return what a message tells of a TAP; None for any other device."""
    information = _inside(message.get_attr("IFLA_LINKINFO"))
    if information.get(_IFLA_INFO_KIND, b"").rstrip(b"\0") != _KIND:
        return None
    told = {
        number: int.from_bytes(value, sys.byteorder)
        for number, value in _inside(information.get(_IFLA_INFO_DATA)).items()
    }
    if told.get(_IFLA_TUN_TYPE, _IFF_TAP) != _IFF_TAP:
        return None
    return TapInfo(
        owner=told.get(_IFLA_TUN_OWNER),
        group=told.get(_IFLA_TUN_GROUP),
        has_our_format=bool(told.get(_IFLA_TUN_VNET_HDR, 1)) and not told.get(_IFLA_TUN_PI, 0),
    )


def _inside(value: bytes | None) -> dict[int, bytes]:
    return {} if value is None else dict(attributes(value, 0, len(value)))

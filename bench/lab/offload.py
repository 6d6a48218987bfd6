"""Device features through the SIOCETHTOOL ioctl, by the names that `ethtool -k` prints.

A capture is of frames on the wire only if the sender's device does not pass offload frames on
whole, and the receiver's does not glue frames together.
"""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct

from bench.lab.namespaces import Namespace

# Specified by include/uapi/linux/sockios.h and ethtool.h.
SIOCETHTOOL = 0x8946
ETHTOOL_GSTRINGS = 0x1B
ETHTOOL_GSSET_INFO = 0x37
ETHTOOL_SFEATURES = 0x3B
ETH_SS_FEATURES = 4
ETH_GSTRING_LEN = 32


def _ethtool(handle: socket.socket, interface: str, request: bytes, room: int = 0) -> bytes:
    """Make one ethtool request, with `room` bytes for the answer after it."""
    buffer = ctypes.create_string_buffer(request, len(request) + room)
    ifreq = struct.pack("16sP16x", interface.encode(), ctypes.addressof(buffer))
    fcntl.ioctl(handle, SIOCETHTOOL, ifreq)
    return buffer.raw


def _feature_names(handle: socket.socket, interface: str) -> list[str]:
    """Return the kernel's names of device features, in the order of their bits."""
    query = struct.pack("=IIQ", ETHTOOL_GSSET_INFO, 0, 1 << ETH_SS_FEATURES)
    (count,) = struct.unpack_from("=I", _ethtool(handle, interface, query, 4), 16)
    query = struct.pack("=III", ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count)
    text = _ethtool(handle, interface, query, count * ETH_GSTRING_LEN)[12:]
    fields = (text[at : at + ETH_GSTRING_LEN] for at in range(0, len(text), ETH_GSTRING_LEN))
    return [field.split(b"\0")[0].decode() for field in fields]


def is_segmentation(name: str) -> bool:
    """Whether a feature makes the device, not the stack, cut large frames to size."""
    return name.startswith("tx-") and (
        (name.endswith("-segmentation") and name != "tx-generic-segmentation")
        or name == "tx-gso-list"
    )


def is_aggregation(name: str) -> bool:
    """Whether a feature makes received frames grow together."""
    return name in {"rx-gro", "rx-gro-list", "rx-lro", "rx-udp-gro-forwarding"}


def set_wire_frames(namespace: Namespace, interface: str) -> None:
    """Make every frame that crosses an interface, either way, one that a wire could carry."""
    with namespace.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        names = _feature_names(handle, interface)
        blocks = [0] * ((len(names) + 31) // 32)
        for bit, name in enumerate(names):
            if is_segmentation(name) or is_aggregation(name):
                blocks[bit // 32] |= 1 << bit % 32
        # Pairs of (which bits are meant, their new values): all those meant become 0.
        pairs = b"".join(struct.pack("=II", valid, 0) for valid in blocks)
        request = struct.pack("=II", ETHTOOL_SFEATURES, len(blocks)) + pairs
        _ethtool(handle, interface, request)

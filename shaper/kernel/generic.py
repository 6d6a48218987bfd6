"""Generic netlink: questions to what has no family of its own, as WireGuard."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct

from shaper.kernel.netlink_messages import (
    ATTRIBUTE_HEADER,
    NLA_ALIGNMENT,
    NLMSG_HEADER,
    attributes,
    split_datagram,
)

# Specified: include/uapi/linux/netlink.h, genetlink.h.
_NETLINK_GENERIC = 16
_NLM_F_REQUEST = 0x1
_NLM_F_ACK = 0x4
_NLM_F_DUMP = 0x300
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_GENL_ID_CTRL = 0x10
_CTRL_CMD_GETFAMILY = 3
_CTRL_ATTR_FAMILY_ID = 1
_CTRL_ATTR_FAMILY_NAME = 2
_GENLMSGHDR = struct.Struct("=BBxx")  # command, version
_ERROR_NUMBER = struct.Struct("=i")  # negative; 0 acknowledges

# Chosen.
_VERSION = 1
_DATAGRAM_BYTES = 1 << 16
_ANSWER_SECONDS = 1.0  # it is there at once, or something is wrong


def dump(family: str, command: int, kind: int, value: bytes) -> list[dict[int, bytes]]:
    """Return the attributes of each message of an answer.

    Args:
        family: as the kernel calls it.
        command: the question, one that is answered by a dump.
        kind: of its only attribute.
        value: that attribute's.

    Raises OSError, with the kernel's errno: ENOENT where the kernel has no such family.
    """
    opened = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_GENERIC
    )
    with contextlib.closing(opened):
        opened.settimeout(_ANSWER_SECONDS)
        name = _attribute(_CTRL_ATTR_FAMILY_NAME, family.encode() + b"\0")
        (found,) = _ask(opened, _GENL_ID_CTRL, _NLM_F_ACK, _CTRL_CMD_GETFAMILY, name)
        (number,) = struct.unpack("=H", found[_CTRL_ATTR_FAMILY_ID])
        return _ask(opened, number, _NLM_F_DUMP, command, _attribute(kind, value))


def _ask(
    opened: socket.socket, kind: int, flags: int, command: int, body: bytes
) -> list[dict[int, bytes]]:
    payload = _GENLMSGHDR.pack(command, _VERSION) + body
    length = NLMSG_HEADER.size + len(payload)
    opened.send(NLMSG_HEADER.pack(length, kind, flags | _NLM_F_REQUEST, 0, 0) + payload)
    found: list[dict[int, bytes]] = []
    while True:
        data = opened.recv(_DATAGRAM_BYTES)
        if len(data) == _DATAGRAM_BYTES:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        for told, _, start, end in split_datagram(data):
            if told in (_NLMSG_ERROR, _NLMSG_DONE):
                (number,) = _ERROR_NUMBER.unpack_from(data, start)
                if number:
                    raise OSError(-number, os.strerror(-number))
                return found
            found.append(dict(attributes(data, start + _GENLMSGHDR.size, end)))


def _attribute(kind: int, value: bytes) -> bytes:
    length = ATTRIBUTE_HEADER.size + len(value)
    return ATTRIBUTE_HEADER.pack(length, kind) + value + bytes(-length % NLA_ALIGNMENT)

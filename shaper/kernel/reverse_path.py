"""Rules of nftables that look up the way back of a packet: one dump, bounded, failures ignored.

They do what rp_filter does, for IPv6 too: firewalld has one by default. Whether such a rule drops
is not worked out; that one is there is worth a word.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from shaper.kernel.netlink_messages import attributes, split_datagram
from shaper.kernel.wire import DATAGRAM_BYTES, DUMP

# Specified: include/uapi/linux/netfilter/nf_tables.h, linux/netfilter/nf_tables_compat.h,
# linux/netfilter/nfnetlink.h, netlink.h.
_NETLINK_NETFILTER = 12
_NFNL_SUBSYS_NFTABLES = 10
_NFT_MSG_NEWRULE = 6
_NFT_MSG_GETRULE = 7
_NFTA_RULE_TABLE = 1
_NFTA_RULE_CHAIN = 2
_NFTA_RULE_EXPRESSIONS = 4
_NFTA_EXPR_NAME = 1
_NFTA_EXPR_DATA = 2
_NFTA_FIB_RESULT = 2
_NFTA_FIB_FLAGS = 3
_NFTA_MATCH_NAME = 1
_NFT_FIB_RESULT_OIF = 1
_NFT_FIB_RESULT_OIFNAME = 2
_NFTA_FIB_F_SADDR = 1
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NETLINK_HEADER = struct.Struct("=IHHII")
_NFGENMSG = struct.Struct("=BBH")  # family, version, resource
_BIG_ENDIAN = struct.Struct("!I")

# Chosen.
_MOST_BYTES = 4 << 20  # of rules that are read; some ten thousand
_SECONDS = 0.2


def reverse_path_rules() -> tuple[str, ...]:
    """Return table and chain of each rule that looks up the way back; none where it is unknown."""
    try:
        return tuple(dict.fromkeys(_rules()))
    except (OSError, struct.error, KeyError):
        return ()


def _rules() -> Iterator[str]:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_NETLINK, kind, _NETLINK_NETFILTER) as handle:
        handle.settimeout(_SECONDS)
        size = _NETLINK_HEADER.size + _NFGENMSG.size
        header = _NETLINK_HEADER.pack(size, _message(_NFT_MSG_GETRULE), DUMP, 1, 0)
        handle.send(header + _NFGENMSG.pack(socket.AF_UNSPEC, 0, 0))
        read = 0
        while read < _MOST_BYTES:
            data = handle.recv(DATAGRAM_BYTES)
            read += len(data)
            for message, _, start, end in split_datagram(data):
                if message in (_NLMSG_ERROR, _NLMSG_DONE):
                    return
                if message == _message(_NFT_MSG_NEWRULE):
                    yield from _looks_back(data, start + _NFGENMSG.size, end)


def _message(number: int) -> int:
    return _NFNL_SUBSYS_NFTABLES << 8 | number


def _looks_back(data: bytes, start: int, end: int) -> Iterator[str]:
    content = data[start:end]
    if b"fib\0" not in content and b"rpfilter\0" not in content:
        return
    rule = dict(attributes(content, 0, len(content)))
    expressions = rule.get(_NFTA_RULE_EXPRESSIONS, b"")
    for _, expression in attributes(expressions, 0, len(expressions)):
        if _is_reverse_path(dict(attributes(expression, 0, len(expression)))):
            yield f"{_text(rule[_NFTA_RULE_TABLE])} {_text(rule[_NFTA_RULE_CHAIN])}"


def _is_reverse_path(expression: dict[int, bytes]) -> bool:
    content = expression.get(_NFTA_EXPR_DATA, b"")
    fields = dict(attributes(content, 0, len(content)))
    match _text(expression.get(_NFTA_EXPR_NAME, b"")):
        case "fib":
            (result,) = _BIG_ENDIAN.unpack(fields[_NFTA_FIB_RESULT])
            (flags,) = _BIG_ENDIAN.unpack(fields[_NFTA_FIB_FLAGS])
            leads_out = result in (_NFT_FIB_RESULT_OIF, _NFT_FIB_RESULT_OIFNAME)
            return leads_out and bool(flags & _NFTA_FIB_F_SADDR)
        case "match":
            return _text(fields.get(_NFTA_MATCH_NAME, b"")) == "rpfilter"
    return False


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")

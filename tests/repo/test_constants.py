"""What is copied from a kernel header is what the header says."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache

import pytest

from tests.repo.headers import HEADERS, constants
from tests.repo.sources import modules

SPECIFIED = re.compile(r"^# Specified")
HEADER = re.compile(r"\b((?:linux|asm-generic)/[\w/-]+\.h|\w+\.h)\b")
NAME = re.compile(r"^_*[A-Z][A-Z0-9_]*$")

# Names that are ours, with those of the header.
ALIASES = {
    "ADDR_GEN_MODE_NONE": "IN6_ADDR_GEN_MODE_NONE",
    "ETHERNET_ADDRESS_BYTES": "ETH_ALEN",
    "ETHERNET_HEADER_BYTES": "ETH_HLEN",
    "IPV6_DEFAULT_METRIC": "IP6_RT_PRIO_USER",
    "LINUX_CAPABILITY_VERSION_3": "_LINUX_CAPABILITY_VERSION_3",
    "MAIN_TABLE": "RT_TABLE_MAIN",
    "NLA_ALIGNMENT": "NLA_ALIGNTO",
}
# Younger than the headers of Debian 12, and since which kernel.
YOUNGER = {"SO_PASSRIGHTS": "6.16", "TUN_F_USO4": "6.2", "TUN_F_USO6": "6.2"}
# Integers of such a group that no header of include/uapi has, and where they are from.
ELSEWHERE = {
    "BPF_RET_K": "BPF_RET | BPF_K of linux/bpf_common.h",
    "CLOCK_MONOTONIC": "a number of the system call, in a header of its own for the C library",
    "GENL_ID_CTRL": "NLMSG_MIN_TYPE of linux/netlink.h",
    "LEAST_PORT": "include/net/fib_rules.h, which is not for user space",
    "IPV6_MIN_MTU": "RFC 8200, section 5",
    "MAX_GSO_BYTES": "include/linux/netdevice.h, which is not for user space",
    "MAX_SHORT_TABLE": "the width of the field",
    "MAX_TAP_MTU": "drivers/net/tun.c",
    "MAX_TCP_HEADER_BYTES": "include/net/sock.h",
    "MOST": "the width of the field",
    "MOST_PORT": "include/net/fib_rules.h, which is not for user space",
    "NANOSECONDS": "of a second",
    "NLA_TYPE_MASK": "the complement of two flags",
    "SOL_NETLINK": "include/linux/socket.h, which is not for user space",
    "SOL_PACKET": "include/linux/socket.h, which is not for user space",
    "TCP_IPV4_HEADER_BYTES": "RFC 791, RFC 9293",
    "TCP_IPV6_HEADER_BYTES": "RFC 8200, RFC 9293",
    "TFD_TIMER_ABSTIME": "include/linux/timerfd.h",
}
# Mappings and tuples: module, name, and the header and the prefix of what they number.
TABLES = [
    ("shaper.kernel.netlink_messages", "_LINK_ATTRIBUTES", "linux/if_link.h", ""),
    ("shaper.kernel.netlink_messages", "_NEIGHBOUR_ATTRIBUTES", "linux/neighbour.h", ""),
    ("shaper.kernel.netlink_messages", "_ADDRESS_ATTRIBUTES", "linux/if_addr.h", ""),
    ("shaper.kernel.netlink_messages", "_OPERSTATES", "linux/if.h", "IF_OPER_"),
    ("shaper.kernel.route_messages", "_KINDS", "linux/rtnetlink.h", "RTN_"),
    ("shaper.desired.ip_words", "_TABLES", "linux/rtnetlink.h", "RT_TABLE_"),
]


@pytest.fixture(autouse=True)
def _headers() -> None:
    """Skip where there are none."""
    if not (HEADERS / "linux/rtnetlink.h").exists():
        pytest.skip("needs the kernel's headers (package linux-libc-dev)")


@cache
def groups(module: str) -> tuple[tuple[tuple[str, ...], tuple[ast.Assign, ...]], ...]:
    """Return the groups of a module that name headers: the headers, and the assignments."""
    lines = modules()[module].read_text(encoding="utf-8").splitlines()
    assignments = [
        node
        for node in ast.parse("\n".join(lines)).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    ]
    found = []
    for start, line in enumerate(lines, 1):
        if SPECIFIED.match(line) and "include/uapi/" in line:
            end = next((n for n, text in enumerate(lines[start:], start + 1) if not text), start)
            inside = tuple(node for node in assignments if start < node.lineno < end)
            text = "\n".join(lines[start - 1 : end])
            found.append((tuple(map(full, HEADER.findall(text))), inside))
    return tuple(found)


def full(header: str) -> str:
    """Return a header's path below include/uapi."""
    return header if "/" in header else f"linux/{header}"


def copied(module: str) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    """Return name and value of the integers in such groups, and the headers of the group."""
    for headers, assignments in groups(module):
        for node in assignments:
            (target,) = node.targets
            assert isinstance(target, ast.Name)
            value = getattr(importlib.import_module(module), target.id)
            if NAME.match(target.id) and type(value) is int and not is_derived(node):
                yield target.id.lstrip("_"), value, headers


def is_derived(node: ast.Assign) -> bool:
    """Whether a value is made of other names, which are held to the header themselves."""
    return any(isinstance(each, ast.Name) for each in ast.walk(node.value))


def known(headers: tuple[str, ...]) -> dict[str, int]:
    """Return the constants of headers; one that is not among the kernel's is passed over."""
    existing = [header for header in headers if header != "bits/socket.h"]
    return {name: value for each in existing for name, value in _constants(each).items()}


def _constants(header: str) -> dict[str, int]:
    try:
        return constants(header)
    except FileNotFoundError:
        return {}


COPYING = [name for name in sorted(modules()) if groups(name)]


@pytest.mark.parametrize("module", COPYING)
def test_copied_constants_are_those_of_the_header(module: str) -> None:
    """Each integer below "Specified: include/uapi/..." is in a header named there, with its value.

    A name that is not is in ALIASES, YOUNGER or ELSEWHERE.
    """
    for name, value, headers in copied(module):
        if name in ELSEWHERE:
            continue
        specified = known(headers)
        origin = ALIASES.get(name, name)
        if origin in YOUNGER and origin not in specified:
            continue
        assert origin in specified, f"{name} is in none of {', '.join(headers)}"
        assert value & 0xFFFF_FFFF == specified[origin] & 0xFFFF_FFFF, name


@pytest.mark.parametrize("module", sorted(modules()))
def test_names_of_headers_keep_their_meaning(module: str) -> None:
    """An integer of the name of a kernel constant has its value, wherever it stands."""
    headers = tuple({header for each in COPYING for names, _ in groups(each) for header in names})
    specified = known(headers)
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            value = node.value
            if isinstance(value, ast.Constant) and type(value.value) is int:
                expected = specified.get(name.lstrip("_"), value.value)
                assert value.value & 0xFFFF_FFFF == expected & 0xFFFF_FFFF, name


@pytest.mark.parametrize(("module", "table", "header", "prefix"), TABLES)
def test_tables_number_as_the_header_does(
    module: str, table: str, header: str, prefix: str
) -> None:
    """What maps numbers of the kernel to words, or words to numbers, has those of the header."""
    specified = constants(header)
    content = getattr(importlib.import_module(module), table)
    for name, number in numbered(content):
        assert specified[prefix + name.upper()] == number, name


def numbered(content: object) -> Iterator[tuple[str, int]]:
    """Return what a table says as names and numbers."""
    if isinstance(content, tuple):
        yield from ((name, number) for number, name in enumerate(content))
    elif isinstance(content, dict):
        for key, value in content.items():
            if isinstance(key, int):
                yield str(value), key
            else:
                yield key, value[0][-1] if isinstance(value, tuple) else value


def test_the_parser_reads_what_headers_hold() -> None:
    """Values of every form: a number, an enum, an ioctl, a sum of flags, an enum's own #define."""
    assert constants("linux/neighbour.h")["NUD_PERMANENT"] == 0x80
    assert constants("linux/if_tun.h")["TUNSETIFF"] == 0x400454CA
    assert constants("linux/rtnetlink.h")["RTM_NEWNEIGH"] == 28
    assert constants("linux/netlink.h")["NLM_F_DUMP"] == 0x300
    assert constants("linux/if_addr.h")["IFAPROT_KERNEL_LL"] == 3
    assert constants("asm-generic/socket.h")["SO_PEERGROUPS"] == 59


def test_every_exception_is_needed() -> None:
    """A name in a table of exceptions that no module has any more would hide the next one."""
    names = {name for module in COPYING for name, _, _ in copied(module)}
    assert {*ALIASES, *YOUNGER, *ELSEWHERE} <= names

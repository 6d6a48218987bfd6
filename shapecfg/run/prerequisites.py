"""What this machine has, and what it lacks, told in one sentence with what brings it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from shapecfg.client import EXIT_REFUSED, CallError
from shapecfg.run.link_plan import MOST_LINKS, RunMachine
from shapecfg.run.way_out import is_loopback, nameservers, resolver_text

_TUN = "/dev/net/tun"
_RESOLVER = Path("/etc/resolv.conf")
_UPSTREAM = Path("/run/systemd/resolve/resolv.conf")  # what systemd-resolved itself asks
_IPV6_FORWARDING = Path("/proc/sys/net/ipv6/conf/all/forwarding")
# Specified: include/uapi/linux/capability.h.
_CAP_NET_ADMIN = 12
_CAP_SYS_ADMIN = 21

# Chosen.
_NEEDED = 1 << _CAP_NET_ADMIN | 1 << _CAP_SYS_ADMIN
_SYSTEM_PATH = ("/usr/sbin", "/sbin")  # not in an ordinary user's PATH


@dataclass(frozen=True)
class Tools:
    """Paths of the programs that a link is made with; those that are not needed are empty."""

    ip: str
    pasta: str = ""
    nft: str = ""


def tools(*, is_privileged: bool, has_relay: bool) -> Tools:
    """Find the programs that are needed. Raises CallError, naming the package of a missing one."""
    ip = _found("ip", "iproute2")
    nft = _found("nft", "nftables") if is_privileged or has_relay else ""
    return Tools(ip, nft=nft, pasta="" if is_privileged else _found("pasta", "passt"))


def check_tun() -> None:
    """Raise CallError unless TAP devices can be made by this user."""
    try:
        os.close(os.open(_TUN, os.O_RDWR | os.O_CLOEXEC))
    except PermissionError:
        raise _missing(
            f"{_TUN} may not be opened by this user: allow it with 'chmod 0666 {_TUN}'"
        ) from None
    except OSError as error:
        raise _missing(
            f"{_TUN} cannot be opened ({error.strerror}): load the module with 'modprobe tun'"
        ) from None


def is_privileged() -> bool:
    """Whether this process may make devices and rules where it is."""
    status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16) & _NEEDED == _NEEDED
    return False


def look(ip: str, *, is_privileged: bool) -> RunMachine:
    """Return what there is. Raises CallError where nothing can be reached."""
    device4, device6 = _device(ip, "-4"), _device(ip, "-6")
    if device4 is None and device6 is None:
        raise _missing(
            "there is no way out: no device but lo has an address (see 'ip address show')"
        )
    has_ipv6 = device6 is not None
    return RunMachine(
        is_privileged=is_privileged,
        device=device4 or device6,
        has_ipv4=device4 is not None,
        has_ipv6=has_ipv6 and (not is_privileged or _forwards_ipv6()),
        number=_free_number() if is_privileged else 0,
    )


def _forwards_ipv6() -> bool:
    """Whether the machine does; unlike with IPv4 it is one switch for all that it receives."""
    with contextlib.suppress(OSError):
        return _IPV6_FORWARDING.read_text(encoding="ascii").strip() == "1"
    return False


def _free_number() -> int:
    """Return a number of a link that no other one has here."""
    taken = {name for _, name in socket.if_nameindex()}
    while f"run{(number := random.randrange(1, MOST_LINKS))}" in taken:
        pass
    return number


def with_names(found: RunMachine) -> tuple[RunMachine, str | None]:
    """Return the machine with its resolver, and the command's /etc/resolv.conf if it differs.

    pasta asks the machine's nameserver wherever that is. Otherwise systemd-resolved, which answers
    no one else, is passed over, and another one is reached by address translation.
    """
    text = _read(_RESOLVER)
    servers = nameservers(text)
    if any(not is_loopback(server) for server in servers[:1]):
        return found, None
    upstream = _read(_UPSTREAM)
    if found.is_privileged and any(not is_loopback(each) for each in nameservers(upstream)):
        return found, upstream
    own = next((each for each in servers if ":" not in each), "127.0.0.1")
    found = replace(found, resolver=own)
    return found, resolver_text(text, found)


def _read(path: Path) -> str:
    """Return a text, an empty one if there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def user_namespaces_refused(error: OSError) -> CallError:
    """Return the sentence for a user who may not make namespaces."""
    return _missing(
        f"user {os.getuid()} may not make user namespaces ({error.strerror}): run as root, or "
        "allow them (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
        "kernel.apparmor_restrict_unprivileged_userns)"
    )


def _found(program: str, package: str) -> str:
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_SYSTEM_PATH])
    found = shutil.which(program, path=path)
    if found is None:
        raise _missing(f"run needs {program}: install {package} (apt install {package})")
    return found


def _missing(sentence: str) -> CallError:
    return CallError(sentence, EXIT_REFUSED)


def _device(ip: str, family: str) -> str | None:
    """Return the device of the default route, else the first one with an address of any use."""
    for route in _ip_json(ip, family, "route", "show", "default"):
        if "dev" in route:
            return str(route["dev"])
    for link in _ip_json(ip, family, "address", "show", "up", "scope", "global"):
        if link.get("ifname") not in (None, "lo") and link.get("addr_info"):
            return str(link["ifname"])
    return None


def _ip_json(ip: str, *arguments: str) -> list[dict[str, object]]:
    answer = subprocess.run([ip, "-j", *arguments], capture_output=True, check=False).stdout
    with contextlib.suppress(ValueError):  # a device's name may be no UTF-8
        return list(json.loads(answer.decode(errors="surrogateescape") or "[]"))
    return []

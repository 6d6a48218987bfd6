"""What /proc/sys/net says of devices. Reading needs no right; writing is refused to a service."""

from __future__ import annotations

import os
from collections.abc import Callable

_CONF = "/proc/sys/net/ipv{}/conf/{}/{}"

# How `all` and a device's own value combine: include/linux/inetdevice.h, IN_DEV_*CONF and
# IN_DEV_ORCONF.
_LARGER = ("rp_filter", "arp_ignore")
_EITHER = ("arp_filter", "proxy_arp")


class Sysctls:
    """Sysctls of devices, each file read once.

    Make a new one for each look.
    """

    def __init__(self) -> None:
        self._read: dict[str, int | None] = {}

    def ipv4(self, ifname: str, name: str) -> int:
        """Return the setting that is in force on a device; 0 where it cannot be read."""
        own = self._value(4, ifname, name) or 0
        if name in _LARGER or name in _EITHER:
            return max(own, self._value(4, "all", name) or 0)
        return own

    def ipv6_mtu(self, ifname: str) -> int | None:
        """Return the IPv6 MTU of a device; None without IPv6."""
        return self._value(6, ifname, "mtu")

    def _value(self, version: int, ifname: str, name: str) -> int | None:
        path = _CONF.format(version, ifname, name)
        if path not in self._read:
            self._read[path] = _number(path)
        return self._read[path]


def read(key: str) -> int | None:
    """Return a number below /proc/sys/net, `ipv4/ip_forward`; None where it cannot be read."""
    return _number(f"/proc/sys/net/{key}")


def set_ipv6_mtu(name: Callable[[], str | None], mtu: int) -> bool:
    """Set the IPv6 MTU of a device; return whether it could be.

    `name` tells what the device is called now. What was opened by a name stays that of its device
    when the name passes to another, so the name is looked at again before anything is written.
    """
    ifname = name()
    try:
        descriptor = os.open(_CONF.format(6, ifname, "mtu"), os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if ifname is None or name() != ifname:
            return False
        os.write(descriptor, str(mtu).encode())
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _number(path: str) -> int | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return int(os.read(descriptor, 32))
    except (OSError, ValueError):
        return None
    finally:
        os.close(descriptor)

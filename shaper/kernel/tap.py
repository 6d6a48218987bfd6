"""TAP devices: made, adopted, tuned and removed through /dev/net/tun (ioctl).

A shaper's TAP is persistent and owned by the daemon's user. Persistent: if every process of ours
dies, the device, its addresses and routes stay, without carrier, so that traffic stops instead of
leaving unshaped. Owned: a persistent TAP without an owner could be taken by anyone who may open
/dev/net/tun. See linux/Documentation/networking/tuntap.rst and drivers/net/tun.c.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import socket
import struct

from shaper.errors import Busy, KernelRefused, NotPermitted

# Specified: include/uapi/linux/if_tun.h.
_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_TUNSETOWNER = 0x400454CC
_TUNSETGROUP = 0x400454CE
_TUNSETOFFLOAD = 0x400454D0
_TUNGETIFF = 0x800454D2
_TUNSETFILTEREBPF = 0x800454E1
_TUNSETCARRIER = 0x400454E2
_TUNGETDEVNETNS = 0x54E3
_IFF_TAP = 0x0002
_IFF_PERSIST = 0x0800
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_TUN_F_CSUM = 0x01
_TUN_F_TSO4 = 0x02
_TUN_F_TSO6 = 0x04
_TUN_F_TSO_ECN = 0x08
_TUN_F_USO4 = 0x20
_TUN_F_USO6 = 0x40
_IFREQ = struct.Struct("16sH22x")

_TSO = _TUN_F_CSUM | _TUN_F_TSO4 | _TUN_F_TSO6 | _TUN_F_TSO_ECN
_USO = _TUN_F_USO4 | _TUN_F_USO6

_DEVICE = "/dev/net/tun"
_OWN_NAMESPACE = "/proc/self/ns/net"

# Chosen: the group of our TAPs, "SHAP". No process is a member, so that nothing without
# CAP_NET_ADMIN can open one, not even as the owner, and a device is known by it.
MARK = 0x5348_4150

_MOST_RENAMES = 8  # chosen: while an index is looked up


class Tap:
    """An open TAP device. The descriptor may be handed to another process and read there.

    Args:
        ifname: the device to make, or to adopt if it is one of ours that was left behind.
        kept: an open descriptor of it, which outlived an earlier daemon; it is closed here.

    Raises:
        Busy: another process holds it.
        NotPermitted: without CAP_NET_ADMIN, or without access to /dev/net/tun.
        KernelRefused: there is no /dev/net/tun, it is no TAP, or the kernel refused otherwise.
    """

    def __init__(self, ifname: str, kept: int | None = None) -> None:
        self.ifname = ifname
        self._is_persistent = False
        if kept is not None:  # all is set, and to set it again would be an event
            self._descriptor = kept
            self._is_persistent = bool(_look(kept)[1] & _IFF_PERSIST)
            return
        self._descriptor = _open_device()
        try:
            self._attach()
            self._set(_TUNSETOWNER, os.geteuid())
            with contextlib.suppress(KernelRefused):  # a user namespace without this group
                self._set(_TUNSETGROUP, MARK)
            self.persist(is_on=True)
        except BaseException:
            os.close(self._descriptor)
            raise

    def persist(self, *, is_on: bool) -> None:
        """Have the device outlive its last descriptor, or not."""
        if is_on != self._is_persistent:
            self._set(_TUNSETPERSIST, is_on)
        self._is_persistent = is_on

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def lend(self) -> int:
        """Return the descriptor for a forwarder: it does not block, whatever one before it set."""
        os.set_blocking(self._descriptor, False)
        return self._descriptor

    def holds_frames(self) -> bool:
        """Whether a frame waits in the ring to be read."""
        looker = select.poll()  # not select(2), which ends at descriptor 1024
        looker.register(self._descriptor, select.POLLIN)
        return any(found & select.POLLIN for _, found in looker.poll(0))

    def name(self) -> str | None:
        """Return what the device is called now, wherever it is; None once it is deleted."""
        return name_of(self._descriptor)

    def index(self) -> int:
        """Return the index of the device, whatever it was renamed to meanwhile.

        The kernel tells the index of a name alone, and a name may pass to another device at any
        time. Raises KernelRefused if it changes again and again, or the device is gone.
        """
        for _ in range(_MOST_RENAMES):
            name = self.name()
            with contextlib.suppress(OSError):
                ifindex = socket.if_nametoindex(name or "")
                if self.name() == name:
                    return ifindex
        raise KernelRefused(f"{self.ifname} was renamed or removed meanwhile", errno.ESTALE)

    def is_here(self) -> bool:
        """Whether the device is in our network namespace; it may have been moved to another."""
        try:
            namespace = fcntl.ioctl(self._descriptor, _TUNGETDEVNETNS)
        except OSError:
            return False  # deleted, or in a namespace that is not ours to look at
        try:
            return os.path.samestat(os.fstat(namespace), os.stat(_OWN_NAMESPACE))
        except OSError:
            return False
        finally:
            os.close(namespace)

    def set_carrier(self, *, is_on: bool) -> None:
        """Show carrier, or take it away: routes over the device are then marked linkdown."""
        self._set(_TUNSETCARRIER, struct.pack("i", is_on))

    def set_offload(self, *, is_on: bool, leaves_checksums: bool = True) -> None:
        """Ask for segmentation-offload frames or for none, which may be left without checksums.

        UDP segmentation needs kernel 6.2; an older one gives TCP segmentation alone.
        """
        if not is_on:
            self._set(_TUNSETOFFLOAD, _TUN_F_CSUM if leaves_checksums else 0)
            return
        try:
            self._set(_TUNSETOFFLOAD, _TSO | _USO)
        except KernelRefused as error:
            if error.errno != errno.EINVAL:
                raise
            self._set(_TUNSETOFFLOAD, _TSO)

    def set_filter(self, program: int | None) -> None:
        """Let a program see each frame before the ring does, in place of any other; None: none.

        It stays with the device, not with the descriptor. Raises KernelRefused (before 4.16).
        """
        self._set(_TUNSETFILTEREBPF, struct.pack("i", -1 if program is None else program))

    def remove(self) -> None:
        """Remove the device and its addresses and routes; it goes with the last descriptor."""
        with contextlib.suppress(KernelRefused):  # EBADFD: it was removed already
            self._set(_TUNSETPERSIST, 0)
        self.close()

    def rest(self) -> None:
        """Let go of a device that others hold: it goes with the last of them."""
        with contextlib.suppress(KernelRefused):
            self.persist(is_on=False)
        self.close()

    def close(self) -> None:
        """Let go of the device and leave it where it is."""
        os.close(self._descriptor)

    def _set(self, request: int, argument: int | bytes) -> None:
        try:
            fcntl.ioctl(self._descriptor, request, argument)
        except OSError as error:
            raise KernelRefused(
                f"cannot set up {self.ifname}: {error.strerror}", error.errno or errno.EIO
            ) from error

    def _attach(self) -> None:
        flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
        request = _IFREQ.pack(self.ifname.encode(errors="surrogateescape"), flags)
        try:
            fcntl.ioctl(self._descriptor, _TUNSETIFF, request)
        except OSError as error:
            raise _refusal(self.ifname, error) from error


def name_of(descriptor: int) -> str | None:
    """Return what the device of an open TAP is called now; None once it is deleted.

    Raises KernelRefused when the descriptor is no TAP.
    """
    return _look(descriptor)[0]


def _look(descriptor: int) -> tuple[str | None, int]:
    """Return the name of a TAP, as `name_of` does, and its flags."""
    request = bytearray(_IFREQ.size)
    try:
        fcntl.ioctl(descriptor, _TUNGETIFF, request)
    except OSError as error:
        if error.errno == errno.EBADFD:
            return None, 0
        number = error.errno or errno.EIO
        raise KernelRefused(f"cannot look at a TAP: {error.strerror}", number) from error
    name, flags = _IFREQ.unpack(request)
    return name.rstrip(b"\0").decode(errors="surrogateescape"), flags


def _open_device() -> int:
    try:
        return os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        raise NotPermitted(
            f"may not open {_DEVICE}: give the daemon's user read and write access to it"
        ) from error
    except OSError as error:
        is_absent = error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO)
        advice = ": load the tun module (modprobe tun)" if is_absent else ""
        raise KernelRefused(
            f"cannot open {_DEVICE} ({error.strerror}){advice}", error.errno or errno.EIO
        ) from error


def check_device() -> None:
    """Raise as `Tap` does, if no TAP at all can be made for want of /dev/net/tun."""
    os.close(_open_device())


def _refusal(ifname: str, error: OSError) -> Busy | NotPermitted | KernelRefused:
    number = error.errno or errno.EIO
    if number == errno.EBUSY:
        return Busy(f"{ifname} is held by another process (is a shaperd running already?)")
    if number == errno.EINVAL:
        reason = "exists already and is no shaper" if _exists(ifname) else "is no name of a device"
        return KernelRefused(f"{ifname} {reason} (choose another name)", number)
    if number == errno.EPERM:
        return NotPermitted(f"may not create {ifname}: CAP_NET_ADMIN is needed (run as root)")
    return KernelRefused(f"cannot create {ifname}: {error.strerror}", number)


def _exists(ifname: str) -> bool:
    with contextlib.suppress(OSError):
        return socket.if_nametoindex(ifname) > 0
    return False

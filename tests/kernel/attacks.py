"""What a forwarder that was taken over may try, and the few things that remain to it."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import resource
import signal
import socket
import struct
from collections.abc import Callable

from bench.lab.topology import MASTER
from shaper.channel import messages
from shaper.forwarder.edges import PacketSink
from shaper.forwarder.loop import Loop
from shaper.forwarder.sendmmsg import Messages
from shaper.forwarder.uring_slots import UringSlots
from shaper.model import RingWord

DONE, FAILED = 200, 201  # exit statuses beside the numbers of errors
CONTROL = "\0shaper-inmate"  # where the supervisor listens
LIE = 424242
FRAME = bytes(10) + b"\xff" * 6 + b"\x02" * 6 + b"\x88\xb5" + b"forged".ljust(64)
libc = ctypes.CDLL(None, use_errno=True)
IS_X86 = os.uname().machine == "x86_64"


class Loot:
    """What an attacker finds: descriptors, and the supervisor's process id."""

    def __init__(self, taken: Loop, supervisor: int) -> None:
        (path,) = taken.paths.values()
        assert taken._board is not None
        self.supervisor = supervisor
        self.board = taken._board
        self.channel = taken._end
        self.tap = path.source.fileno()
        self.ring = taken._rings.row(0)
        slots = taken._slots
        self.uring = slots.uring.fileno() if isinstance(slots, UringSlots) else -1
        assert isinstance(path.sink, PacketSink)
        self.sock = path.sink._socket


def call(x86: int, generic: int, *arguments: object) -> None:
    """Make a system call by its number, which is the same everywhere from 424 on."""
    if libc.syscall(x86 if IS_X86 else generic, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def c(function: str, *arguments: object) -> None:
    """Call a function of the C library."""
    if getattr(libc, function)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def run_out_of_memory(_: Loot) -> None:
    """Take memory in every size until there is none."""
    for size in (100_000, 1000, 40):
        kept: list[object] = []
        with contextlib.suppress(MemoryError):
            while True:
                kept.append(bytearray(size))
        del kept


def lie(loot: Loot) -> None:
    """Write what one pleases in the row of another shaper."""
    loot.board.row(1)[0] = LIE


def spoil_fairness(loot: Loot) -> None:
    """Have flows of its own shaper capped for ever."""
    if loot.ring is not None:
        loot.ring[RingWord.THRESHOLD] = 0
        loot.ring[RingWord.UNTIL_NS] = (1 << 64) - 1


def rebind(loot: Loot) -> None:
    """Bind the packet socket to every protocol."""
    loot.sock.bind((MASTER, 3))


def send_along(loot: Loot) -> None:
    """Send on another device than the packet socket is bound to."""
    address = struct.pack("=HHiHBB8s", socket.AF_PACKET, 0, 1, 0, 0, 0, b"")  # 1: loopback
    if libc.sendto(loot.sock.fileno(), FRAME, len(FRAME), 0, address, len(address)) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def send_descriptors(loot: Loot) -> None:
    """Flood the channel with descriptors."""
    socket.send_fds(loot.channel, [b"{}"], [2] * 200)


def send_many(loot: Loot) -> None:
    """Send on the channel by the call that could carry descriptors."""
    sent, number = Messages(1).send(loot.channel.fileno(), [b"{}"])
    if not sent:
        raise OSError(number, "refused")


def read_standard_error(_: Loot) -> None:
    """Read what is typed into the daemon's terminal."""
    os.read(2, 1)


def tap(request: int, argument: int | bytes) -> Callable[[Loot], None]:
    """Return an attack on the TAP by ioctl."""
    return lambda loot: void(fcntl.ioctl(loot.tap, request, argument))


def void(_: object) -> None:
    """Take any result."""


NAMESPACE = 0x40000000  # CLONE_NEWNET

# Each of these must end the forwarder, or be refused without the filter.
ATTACKS: dict[str, Callable[[Loot], None]] = {
    # The wire, and the channel.
    "bind the packet socket anew": rebind,
    "take the filter off": lambda loot: loot.sock.setsockopt(1, 27, 1),
    "become promiscuous": lambda loot: loot.sock.setsockopt(
        263, 1, struct.pack("=iHH8x", 2, 1, 0)
    ),
    "receive on the packet socket": lambda loot: void(loot.sock.recv(2048)),
    "open a netlink socket": lambda _: void(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    "open an inet socket": lambda _: void(socket.socket()),
    "open a packet socket": lambda _: void(socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
    "connect to the control socket": lambda _: socket.socket(socket.AF_UNIX).connect(CONTROL),
    "make a socket pair": lambda _: void(socket.socketpair()),
    "send descriptors": send_descriptors,
    "send many on the channel": send_many,
    # What the descriptors allow.
    "shorten the board": lambda loot: os.ftruncate(loot.board.descriptor, 0),
    "punch a hole into the board": lambda loot: c("fallocate", loot.board.descriptor, 3, 0, 4096),
    "take the TAP over": tap(0x400454CC, 0),
    "let the TAP go": tap(0x400454CB, 0),
    "take the TAP's carrier": tap(0x400454E2, struct.pack("i", 0)),
    "change the TAP's address": tap(0x8924, struct.pack("=16sH14s8x", b"", 1, b"\2" * 6)),
    "rename the TAP by TUNSETIFF": tap(0x400454CA, struct.pack("=16sH22x", b"other0", 0x5002)),
    "make others wait for the master": lambda loot: loot.sock.setblocking(True),
    "make a successor wait for frames": lambda loot: os.set_blocking(loot.tap, True),
    "be received by the TAP": lambda loot: void(os.write(loot.tap, FRAME)),
    "read the terminal": read_standard_error,
    "type into the terminal": lambda _: void(fcntl.ioctl(2, 0x5412, b"x")),
    "make the log non-blocking": lambda _: os.set_blocking(2, False),
    "copy a descriptor": lambda loot: void(os.dup(loot.tap)),
    "map a descriptor": lambda loot: void(mmap.mmap(loot.board.descriptor, 4096)),
    # Files and programs.
    "open a file": lambda _: void(os.open("/etc/passwd", os.O_RDONLY)),
    "write a file": lambda _: void(os.open("/tmp/shaper-inmate", os.O_WRONLY | os.O_CREAT)),
    "look at a file": lambda _: void(os.stat("/etc/shadow")),
    "make a directory": lambda _: os.mkdir("/tmp/shaper-inmate"),
    "remove a file": lambda _: os.unlink("/tmp/shaper-inmate"),
    "execute a program": lambda _: os.execv("/bin/true", ["true"]),
    "execute from memory": lambda _: os.execv(os.memfd_create("x"), ["x"]),
    "fork": lambda _: os._exit(DONE) if os.fork() == 0 else None,
    "start a thread": lambda _: call(435, 435, struct.pack("=11Q", *(0,) * 11), 88),
    "map executable memory": lambda _: void(mmap.mmap(-1, 4096, prot=7)),
    "make memory executable": lambda _: c("mprotect", page(), 4096, 5),
    # Other processes: the supervisor first.
    "kill the supervisor": lambda loot: os.kill(loot.supervisor, signal.SIGKILL),
    "stop the supervisor": lambda loot: os.kill(loot.supervisor, signal.SIGSTOP),
    "lower the supervisor's limits": lambda loot: void(
        resource.prlimit(loot.supervisor, resource.RLIMIT_NOFILE, (0, 0))
    ),
    "slow the supervisor down": lambda loot: os.setpriority(0, loot.supervisor, 19),
    "reschedule the supervisor": lambda loot: void(
        call(314, 274, loot.supervisor, struct.pack("=IIQiIQQQII", 56, 5, *(0,) * 8), 0)
    ),
    "pin the supervisor down": lambda loot: os.sched_setaffinity(loot.supervisor, {0}),
    "trace the supervisor": lambda loot: c("ptrace", 16, loot.supervisor, 0, 0),
    "write the supervisor's memory": lambda loot: c(
        "process_vm_writev", loot.supervisor, vector(), 1, vector(), 1, 0
    ),
    "read the supervisor's memory": lambda loot: c(
        "process_vm_readv", loot.supervisor, vector(), 1, vector(), 1, 0
    ),
    "get hold of the supervisor": lambda loot: call(434, 434, loot.supervisor, 0),
    # The kernel.
    "become root": lambda _: os.setuid(0),
    "leave the namespace": lambda _: c("unshare", NAMESPACE),
    "make a user namespace": lambda _: c("unshare", 0x10000000),
    "enter a namespace": lambda loot: c("setns", loot.tap, NAMESPACE),
    "mount": lambda _: c("mount", b"none", b"/mnt", b"tmpfs", 0, None),
    "change the root": lambda _: os.chroot("/"),
    "load a BPF program": lambda _: call(321, 280, 5, bytes(128), 128),
    "watch by perf": lambda _: call(298, 241, bytes(128), 0, -1, -1, 0),
    "keep a key": lambda _: call(250, 219, 1, b"shaper"),
    "handle page faults": lambda _: call(323, 282, 1),
    "make a ring of calls": lambda _: call(425, 425, 1, bytes(120)),
    "wait in its ring": lambda loot: call(426, 426, loot.uring, 0, 1, 1, 0, 0),
    "lock more memory": lambda loot: call(427, 427, loot.uring, 0, bytes(16), 1),
    "load a module": lambda _: call(175, 105, b"", 0, b""),
    "set the clock": lambda _: call(227, 112, 0, struct.pack("=2q", 0, 0)),
    "change its own filter": lambda _: call(317, 277, 1, 0, bytes(16)),
    "be dumpable": lambda _: c("prctl", 4, 1, 0, 0, 0),
    "use a lock that inherits priority": lambda _: call(202, 98, page(), 6, 0, None),
}

if IS_X86:
    ATTACKS["call by the numbers of x32"] = lambda _: call(0x40000000 | 39, 0)

# And these are what remains to one that was taken over.
POWERS: dict[str, Callable[[Loot], None]] = {
    "send a forged frame to its master": lambda loot: void(loot.sock.send(FRAME)),
    "send on another device": send_along,
    "take frames and drop them": lambda loot: drain(loot.tap),
    "lie on the board": lie,
    "spoil the fairness of its shapers": spoil_fairness,
    "write to the log": lambda _: void(os.write(2, b"a lie in the log\n")),
    "answer what was not asked": lambda loot: messages.send_report(loot.channel, messages.Done(0)),
    "run out of memory": run_out_of_memory,
}
ATTACKS |= POWERS


def drain(descriptor: int) -> None:
    """Read all that waits."""
    with contextlib.suppress(BlockingIOError):
        while True:
            os.read(descriptor, 1 << 17)


def page() -> ctypes.c_void_p:
    """Return a page of memory of its own."""
    libc.mmap.restype = ctypes.c_void_p
    return ctypes.c_void_p(libc.mmap(None, 4096, 3, 0x22, -1, ctypes.c_long(0)))


def vector() -> bytes:
    """Return an iovec of eight bytes where nobody has any."""
    return struct.pack("=2Q", 4096, 8)

"""Taking traffic by device: programs on a master, put there, held and taken away.

On a kernel of 6.6 or later each program is attached by a link (tcx), which ends with its last
descriptor: when the daemon is gone so are they, and the master works as without us. An older one
has filters (`clsact`). Ours come before those of others on the same device, so that these see each
frame once; of ours, the one with the lowest rank comes first (`shaper.desired.captures.rank`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
import struct
from collections.abc import Callable
from typing import NamedTuple

from shaper.errors import KernelRefused
from shaper.kernel import bpf, programs
from shaper.kernel.bpf import Hook
from shaper.kernel.bpf_refusals import bpf_refusals
from shaper.kernel.clsact import FIRST_PRIORITY, Filter
from shaper.kernel.holding import DescriptorKeeper, Held
from shaper.kernel.wire import Wire
from shaper.model import Capture

# Specified: asm-generic/socket.h.
_SO_COOKIE = 57
_PLACE = bytes(4)  # the only one of an array
_INDEX = struct.Struct("=I")
_COOKIE_BYTES = 8
_HOOKS = {Capture.EGRESS: Hook.EGRESS, Capture.CGROUP: Hook.EGRESS, Capture.INGRESS: Hook.INGRESS}

# Chosen.
_MOST_SOCKETS = 16_384  # four of each shaper that there can be
_NONE_ALONE = 0  # of a socket that shapers share; no device has this index


class WantedCapture(NamedTuple):
    """What is to be taken, and to which shaper."""

    capture: Capture
    shaper: int  # its index
    master: int  # its index
    has_link_header: bool
    rank: int = 0  # of our programs on one device the lower is served before


class Captor:
    """The programs of one daemon, and the sockets that they tell from those of others.

    Args:
        keeper: what holds links over a restart; None: nothing does.
        has_tcx: whether there are links; None: the kernel is asked.
    """

    def __init__(
        self, keeper: DescriptorKeeper | None = None, *, has_tcx: bool | None = None
    ) -> None:
        self._keeper = keeper
        self._mark = secrets.randbits(32) | 1
        self._has_tcx = has_tcx
        # By shaper: the cookie of its socket, and the shaper again if no other one sends by it.
        self._cookies: dict[int, tuple[bytes, int]] = {}
        self._sockets: int | None = None
        self._wire: Wire | None = None
        self._placed: dict[tuple[int, Hook], list[tuple[int, _Link]]] = {}

    def trust(self, shaper: int, sock: socket.socket | None, *, is_own: bool = False) -> None:
        """Know a shaper's frames by this socket from now on; None: it has none any more.

        Args:
            shaper: its index.
            sock: the socket.
            is_own: no other shaper sends by it.
        """
        before, _ = self._cookies.pop(shaper, (None, 0))
        if sock is not None:
            cookie = sock.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, _COOKIE_BYTES)
            self._cookies[shaper] = cookie, shaper if is_own else _NONE_ALONE
        if self._sockets is None:
            return
        if sock is not None:
            bpf.put(self._sockets, cookie, _INDEX.pack(self._cookies[shaper][1]))
        known = [cookie for cookie, _ in self._cookies.values()]
        if before is not None and before not in known:
            bpf.take_out(self._sockets, before)

    def check(self) -> None:
        """Raise NotPermitted or KernelRefused, saying why, when nothing can be taken here."""
        with bpf_refusals():
            self._open_sockets()

    def take(self, wanted: WantedCapture) -> Taken:
        """Put the programs of a shaper on its master.

        Raises NotPermitted or KernelRefused, and nothing is then left behind.
        """
        taken = Taken()
        with contextlib.ExitStack() as undoing, bpf_refusals():
            undoing.callback(taken.close)
            self._take(wanted, taken)
            undoing.pop_all()
        return taken

    def rest(self) -> None:
        """Leave the links to the keeper from now on: closing them takes no program away.

        Nor is a socket forgotten by them: the forwarder goes on sending by those they know.
        """
        self._keeper = None
        if self._sockets is not None:
            os.close(self._sockets)
        self._sockets = None

    def close(self) -> None:
        """Let go of everything."""
        if self._sockets is not None:
            os.close(self._sockets)
        if self._wire is not None:
            self._wire.close()
        self._sockets = self._wire = None

    def _take(self, wanted: WantedCapture, taken: Taken) -> None:
        shaper, has_header = wanted.shaper, wanted.has_link_header
        sockets = self._open_sockets()
        match wanted.capture:
            case Capture.EGRESS:
                program = programs.egress(shaper, sockets, has_link_header=has_header)
            case Capture.CGROUP:
                taken.groups = _array(bpf.Map.GROUPS)
                program = programs.cgroup(
                    shaper, sockets, taken.groups, has_link_header=has_header
                )
            case _:
                back = programs.reinject(shaper, wanted.master, sockets, self._mark)
                self._attach(taken, "reinject", back, wanted, shaper, Hook.EGRESS)
                program = programs.ingress(shaper, self._mark, has_link_header=has_header)
        hook = _HOOKS[wanted.capture]
        self._attach(taken, str(wanted.capture), program, wanted, wanted.master, hook)

    def _open_sockets(self) -> int:
        if self._sockets is None:
            self._sockets = bpf.create_map(
                bpf.Map.HASH, "shaper_sockets", key_bytes=8, value_bytes=4, entries=_MOST_SOCKETS
            )
            for cookie, shaper in self._cookies.values():
                bpf.put(self._sockets, cookie, _INDEX.pack(shaper))
        return self._sockets

    def _attach(
        self,
        taken: Taken,
        name: str,
        program: programs.Program,
        wanted: WantedCapture,
        ifindex: int,
        hook: Hook,
    ) -> None:
        descriptor = bpf.load(f"shaper_{name}", programs.encode(program))
        try:
            if self._has_tcx is None:
                self._has_tcx = bpf.has_links(descriptor)
            held: Held = (
                self._link(descriptor, wanted, ifindex, hook)
                if self._has_tcx
                else self._filter(descriptor, f"shaper-{name}", wanted, ifindex, hook)
            )
        finally:
            os.close(descriptor)
        taken.held.append(held)

    def _link(self, program: int, wanted: WantedCapture, ifindex: int, hook: Hook) -> _Link:
        """Attach by a link, behind those of ours that come first.

        A link that an earlier daemon left has its program exchanged, so that no frame passes by.
        """
        placed = self._placed.setdefault((ifindex, hook), [])
        placed[:] = [each for each in placed if each[1].can_be_followed()]
        position = sum(rank <= wanted.rank for rank, _ in placed)
        after = placed[position - 1][1].descriptor if position else None
        name = f"link-{ifindex}-{hook.value}-{wanted.shaper}-{wanted.rank}"
        descriptor = self._take_kept(name, program)
        if descriptor is None:
            descriptor = bpf.attach(program, ifindex, hook, after_link=after)
            if self._keeper is not None:
                self._keeper.put(name, descriptor)
        link = _Link(descriptor, ifindex, lambda: self._drop(name))
        placed.insert(position, (wanted.rank, link))
        return link

    def _take_kept(self, name: str, program: int) -> int | None:
        """Return a link that an earlier daemon left, with this program in it; or None."""
        descriptor = self._keeper.take(name) if self._keeper is not None else None
        if descriptor is None:
            return None
        try:
            bpf.replace_program(descriptor, program)
        except OSError:  # its device is gone
            os.close(descriptor)
            self._drop(name)
            return None
        return descriptor

    def _drop(self, name: str) -> None:
        if self._keeper is not None:
            self._keeper.drop(name)

    def _filter(
        self, program: int, name: str, wanted: WantedCapture, ifindex: int, hook: Hook
    ) -> FilterHeld:
        if self._wire is None:
            self._wire = Wire()
        array = _array(bpf.Map.PROGRAMS)
        try:
            bpf.put(array, _PLACE, _INDEX.pack(program))
            stub = bpf.load("shaper_stub", programs.encode(programs.stub(array)))
            try:
                placed = Filter(
                    self._wire,
                    stub,
                    name,
                    ifindex=ifindex,
                    hook=hook,
                    shaper=wanted.shaper,
                    priority=FIRST_PRIORITY + wanted.rank,
                )
            finally:
                os.close(stub)
        except BaseException:
            os.close(array)
            raise
        return FilterHeld(placed, array)


class Taken:
    """Traffic that is taken to a shaper, until `close`."""

    def __init__(self) -> None:
        self.held: list[Held] = []
        self.groups: int | None = None

    def set_group(self, path: str | None) -> None:
        """Take what this group sends; None: nothing, until there is one."""
        if self.groups is None:
            return
        try:
            bpf.take_out(self.groups, _PLACE)
            if path is None:
                return
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                bpf.put(self.groups, _PLACE, _INDEX.pack(descriptor))
            finally:
                os.close(descriptor)
        except OSError as error:
            number = error.errno or errno.EIO
            raise KernelRefused(f"cannot use group {path}: {error.strerror}", number) from error

    def is_in_place(self) -> bool:
        """Whether none of the programs was taken away by others."""
        try:
            return all(each.is_in_place() for each in self.held)
        except OSError:
            return True  # as far as is known

    def close(self) -> None:
        """Take the programs away, that of the master first."""
        while self.held:
            self.held.pop().close()
        if self.groups is not None:
            os.close(self.groups)
            self.groups = None


class _Link:
    """A program that is held by the descriptor of its link."""

    def __init__(self, descriptor: int, ifindex: int, on_close: Callable[[], None]) -> None:
        self.descriptor: int | None = descriptor
        self._ifindex = ifindex
        self._on_close = on_close

    def is_in_place(self) -> bool:
        return self.descriptor is None or bpf.device_of(self.descriptor) == self._ifindex

    def can_be_followed(self) -> bool:
        """Whether another program can be placed behind it."""
        return self.descriptor is not None and self.is_in_place()

    def close(self) -> None:
        if self.descriptor is not None:
            self._on_close()
            os.close(self.descriptor)
        self.descriptor = None


class FilterHeld:
    """A program that a filter runs for as long as the array it is in is open."""

    def __init__(self, placed: Filter, array: int) -> None:
        self.array = array
        self._placed = placed

    def is_in_place(self) -> bool:
        """Whether the filter is there."""
        return self._placed.is_in_place()

    def close(self) -> None:
        """Remove the filter."""
        try:
            self._placed.close()
        finally:
            os.close(self.array)


def _array(kind: bpf.Map) -> int:
    return bpf.create_map(kind, "shaper_place", key_bytes=4, value_bytes=4, entries=1)

"""The calls of `org.shaper`, from a blocking client over a Unix stream socket.

Varlink is JSON objects that end in NUL: one request, one answer. asyncvarlink speaks it for the
daemon, but takes 100 ms to import, more than everything here together; one call from one process
needs a socket, json and a deadline, no more.

Everything that can go wrong becomes a `CallError`: one sentence and the exit status it deserves.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from shapecfg import reply

DEFAULT_SOCKET = "/run/shaper/org.shaper"
INTERFACE = "org.shaper"

# Specified: the exit statuses every command of this project keeps to.
EXIT_USAGE = 1
EXIT_REFUSED = 2
EXIT_NO_DAEMON = 3
_NOT_FOUND_ERRORS = (f"{INTERFACE}.NoSuchShaper", f"{INTERFACE}.NoSuchMaster")
_SERVICE = "org.varlink.service"
_PERMISSION_ERROR = f"{_SERVICE}.PermissionDenied"
_PRIVILEGED_SUFFIX = ".admin"
_MICROSECONDS = 10**6  # a second

# Chosen.
TIMEOUT_SECONDS = 5.0  # an answer takes milliseconds, a slow netlink dump tens of them
_MAX_ANSWER_BYTES = 16 * 2**20  # some 40000 shapers
_RECEIVE_BYTES = 65536
_MONITOR_SECONDS = 45.0  # a daemon that has nothing to tell says so every 30 s


class CallError(Exception):
    """A call that did not do what was asked: what to print, and the exit status."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class Client:
    """The daemon behind one socket; every call is a connection of its own.

    Each method raises CallError when the daemon refuses, and when there is none that answers
    within `timeout_seconds`, counted over the whole call.

    Args:
        path: the socket.
        timeout_seconds: see above.
        make_socket: of a family and a type, as socket.socket.
    """

    def __init__(
        self,
        path: str,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        make_socket: Callable[[int, int], socket.socket] = socket.socket,
    ) -> None:
        self._make_socket = make_socket
        self.path = path
        self._timeout_seconds = timeout_seconds

    def show(self, ifname: str | None = None) -> list[reply.Shaper]:
        """Return the named shaper, or all of them."""
        return self.overview(ifname)["shapers"]

    def overview(self, ifname: str | None = None) -> reply.Shapers:
        """Return the named shaper, or all of them, and how many events there were."""
        answer: reply.Shapers = self._call(reply.Shapers, "Show", ifname=ifname)
        return answer

    def attach(
        self,
        ifname: str,
        master: str,
        capture: str | None = None,
        cgroup: str | None = None,
        *,
        may_replace: bool = False,
    ) -> list[str]:
        """Bind a shaper to its master; return warnings.

        Args:
            ifname: the shaper.
            master: the device.
            capture: how traffic comes to it; None: by route.
            cgroup: the group or unit, with capture `cgroup`.
            may_replace: it may be attached already, to something else.
        """
        given = {"ifname": ifname, "master": master}
        given |= {"capture": capture} if capture is not None else {}
        given |= {"cgroup": cgroup} if cgroup is not None else {}
        return self._warned("Replace" if may_replace else "Attach", **given)

    def detach(self, ifname: str) -> list[str]:
        """Unbind a shaper, whose device stays; return warnings."""
        return self._warned("Detach", ifname=ifname)

    def set_speed(self, ifname: str, rate_bits: int) -> list[str]:
        """Set a rate in bits per second; return warnings."""
        return self._warned("SetSpeed", ifname=ifname, rate_bits=rate_bits)

    def add(self, ifname: str | None = None) -> reply.Added:
        """Create a shaper device; return its name, chosen by the daemon if None, and warnings."""
        answer: reply.Added = self._call(reply.Added, "Add", ifname=ifname)
        return answer

    def delete(self, ifname: str) -> list[str]:
        """Remove a shaper device; return warnings."""
        return self._warned("Delete", ifname=ifname)

    def set_options(self, ifname: str, options: dict[str, Any]) -> list[str]:
        """Set any of queue, limit_packets, burst_bytes, hz and line; return warnings."""
        return self._warned("SetOptions", **{"ifname": ifname, **options})

    def save(self) -> str:
        """Return everything as it is now, as the text of a shaper.toml."""
        answer: reply.Saved = self._call(reply.Saved, "Save")
        return answer["configuration"]

    def restore(self, configuration: str) -> list[str]:
        """Make everything be as the text of a shaper.toml says, all or none; return warnings."""
        return self._warned("Restore", configuration=configuration)

    def monitor(self, seconds: float | None = None) -> Iterator[reply.Events]:
        """Return events as they happen, in batches that may be empty.

        The first batch comes at once: what happens after it is not missed.

        Args:
            seconds: how long; None: for ever.
        """
        end = math.inf if seconds is None else time.monotonic() + seconds
        request = {"method": f"{INTERFACE}.Monitor", "parameters": {}, "more": True}
        try:
            with self._connected() as connection:
                connection.sendall(json.dumps(request).encode() + b"\0")
                for answer in _answers(connection, end):
                    error, parameters = reply.parse_answer(answer)
                    if error is not None:
                        self._refused("Monitor", error, parameters)
                    yield reply.fitted(parameters, reply.Events)
        except OSError as failed:
            self._not_reached(failed)
        except reply.ReplyError as unreadable:
            self._not_understood(unreadable)

    def version(self) -> str:
        """Return the version of the daemon."""
        answer: reply.ServiceInfo = self._call(reply.ServiceInfo, "GetInfo", _SERVICE)
        return answer["version"]

    def _warned(self, method: str, **parameters: str | int) -> list[str]:
        answer: reply.Warned = self._call(reply.Warned, method, INTERFACE, **parameters)
        return answer["warnings"]

    def _call(
        self,
        wanted: Any,
        method: str,
        interface: str = INTERFACE,
        /,
        **parameters: str | int | None,
    ) -> Any:
        """Make one call; a parameter that is None is left out, which varlink takes for null."""
        given = {key: value for key, value in parameters.items() if value is not None}
        request = {"method": f"{interface}.{method}", "parameters": given}
        try:
            answer = self._exchange(json.dumps(request).encode() + b"\0")
            error, answered = reply.parse_answer(answer)
            if error is not None:
                self._refused(method, error, answered)
            return reply.fitted(answered, wanted)
        except OSError as failed:
            self._not_reached(failed)
        except reply.ReplyError as unreadable:
            self._not_understood(unreadable)

    def _exchange(self, request: bytes) -> bytes:
        """Send a request and return the answer without its NUL, all before the deadline."""
        deadline_seconds = time.monotonic() + self._timeout_seconds
        answer = bytearray()
        with self._connected() as connection:
            connection.sendall(request)
            while len(answer) < _MAX_ANSWER_BYTES:
                left_seconds = deadline_seconds - time.monotonic()
                if left_seconds <= 0:
                    raise TimeoutError
                connection.settimeout(left_seconds)
                received, end, _ = connection.recv(_RECEIVE_BYTES).partition(b"\0")
                answer += received
                if end:
                    return bytes(answer)
                if not received:
                    raise ConnectionResetError
        raise reply.ReplyError("it does not end")

    @contextlib.contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        with self._make_socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            # The kernel waits for room in the daemon's backlog only where the socket may block.
            connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(self._timeout_seconds)
            )
            self._connect(connection)
            connection.settimeout(self._timeout_seconds)
            yield connection

    def _connect(self, connection: socket.socket) -> None:
        """Connect where only those who may change things can, if we can: no crowd waits there."""
        try:
            own = f"{self.path}{_PRIVILEGED_SUFFIX}"
            # One of another owner is not the daemon's.
            if os.stat(own).st_uid == os.stat(self.path).st_uid:
                connection.connect(own)
                return
        except OSError:
            pass
        connection.connect(self.path)

    def _refused(self, method: str, error: str, parameters: dict[str, Any]) -> NoReturn:
        """Raise what the daemon's error means to the caller."""
        if error.startswith(f"{INTERFACE}."):
            refusal: reply.Refusal = reply.fitted(parameters, reply.Refusal)
            status = EXIT_USAGE if error in _NOT_FOUND_ERRORS else EXIT_REFUSED
            raise CallError(refusal["message"], status)
        if error == _PERMISSION_ERROR:
            raise CallError(
                f"no permission for {method} at {self.path}: run as root", EXIT_REFUSED
            )
        raise CallError(
            f"the daemon at {self.path} answers {method} with {error}: "
            "it is of another version than this shapecfg, restart it",
            EXIT_NO_DAEMON,
        )

    def _not_understood(self, error: reply.ReplyError) -> NoReturn:
        """Say that something answered which this version cannot read."""
        raise CallError(
            f"what answers at {self.path} is not the daemon this shapecfg knows: "
            "check --socket, or restart shaperd after an upgrade",
            EXIT_NO_DAEMON,
        ) from error

    def _not_reached(self, error: OSError) -> NoReturn:
        """Say why no answer came, and what to do about it."""
        if isinstance(error, PermissionError):
            raise CallError(
                f"no permission to use {self.path}: run as root, or correct the socket's mode",
                EXIT_REFUSED,
            ) from error
        raise CallError(self._why_not_reached(error), EXIT_NO_DAEMON) from error

    def _why_not_reached(self, error: OSError) -> str:
        if isinstance(error, BlockingIOError):
            return (
                f"too many clients wait for the daemon at {self.path}, "
                f"and none was taken within {self._timeout_seconds:g} s: try again"
            )
        if isinstance(error, TimeoutError):
            return (
                f"the daemon at {self.path} did not answer within {self._timeout_seconds:g} s: "
                "look at 'systemctl status shaper'"
            )
        if isinstance(error, ConnectionResetError | BrokenPipeError):
            return (
                f"the daemon at {self.path} hung up without an answer: "
                "look at 'journalctl -u shaper'"
            )
        return (
            f"no daemon answers at {self.path} ({error.strerror or error}): "
            "start it with 'systemctl start shaper', or run shaperd"
        )


def _answers(connection: socket.socket, end: float) -> Iterator[bytes]:
    """Return answers without their NUL until `end`; that the daemon hangs up is an error."""
    received = bytearray()
    while (left_seconds := end - time.monotonic()) > 0:
        connection.settimeout(min(left_seconds, _MONITOR_SECONDS))
        try:
            piece = connection.recv(_RECEIVE_BYTES)
        except TimeoutError:
            if left_seconds <= _MONITOR_SECONDS:
                return
            raise
        if not piece:
            raise ConnectionResetError
        received += piece
        *answers, rest = received.split(b"\0")
        yield from map(bytes, answers)
        received = rest
        if len(received) > _MAX_ANSWER_BYTES:
            raise reply.ReplyError("it does not end")


def _timeval(seconds: float) -> bytes:
    """Return a struct timeval, as SO_SNDTIMEO takes it (socket(7)); 0 would be for ever."""
    microseconds = max(round(seconds * _MICROSECONDS), 1)
    return struct.pack("ll", *divmod(microseconds, _MICROSECONDS))

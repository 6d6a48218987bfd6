"""The listener for scrapes: HTTP, a thread for each connection, and an end to their number.

Anyone who reaches the port may connect. So few connections are open at a time, and the oldest one
of the address that has most makes room: a client that sends nothing, or does not read, costs a
thread until others come, and a crowd keeps no other address out. What is sent that is no HTTP is
answered and not logged.
"""

from __future__ import annotations

import io
import socket
import threading
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network, ip_address
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from shapecfg.client import EXIT_REFUSED, CallError

# Chosen.
MOST_CONNECTIONS = 32
_WAITING = 128  # to be accepted; what finds no room tries again a second later
_SILENCE_SECONDS = 10
_MOST_HEAD_BYTES = 1 << 14  # of a request; http.client would take 6 MB


def serve(app: Callable[..., Any], host: str, port: int) -> None:
    """Answer requests until interrupted. Raises CallError when it cannot listen."""
    kind = _Server6 if ":" in host else _Server
    try:
        server = kind((host, port), _Handler)
    except OSError as error:
        sentence = f"cannot listen on {host}:{port}: {error.strerror}"
        raise CallError(sentence, EXIT_REFUSED) from error
    server.set_app(app)
    with server:
        server.serve_forever()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = _WAITING

    def __init__(self, *words: Any) -> None:
        self._open: dict[socket.socket, str] = {}  # the oldest first, and where they come from
        self._changing = threading.Lock()
        super().__init__(*words)

    def server_bind(self) -> None:
        """Bind, and ask no nameserver what the address is called."""
        TCPServer.server_bind(self)
        name, self.server_port, *_ = self.server_address
        self.server_name = str(name)
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a thread for a connection; another one makes room."""
        with self._changing:
            self._open[request] = origin(client_address[0])
            if len(self._open) > MOST_CONNECTIONS:
                oldest = _to_make_room(self._open)
                del self._open[oldest]
                _hang_up(oldest)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        with self._changing:
            self._open.pop(request, None)
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that goes away in the middle is not worth a line."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Head:
    """The lines of a request, which end after so many bytes."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._left_bytes = _MOST_HEAD_BYTES

    def readline(self, most_bytes: int) -> bytes:
        """Return the next line, or what is left of it."""
        line: bytes = self._file.readline(min(most_bytes, self._left_bytes))
        self._left_bytes -= len(line)
        return line

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Handler(WSGIRequestHandler):
    timeout = _SILENCE_SECONDS

    def setup(self) -> None:
        """Open a connection; of its body nothing is read."""
        super().setup()
        self.rfile: Any = _Head(self.rfile)

    def get_stderr(self) -> Any:
        """Return where errors go: nowhere, as `handle_error`."""
        return io.StringIO()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: a scrape every few seconds is not worth a line."""


def origin(address: str) -> str:
    """Return what tells one client's addresses from another's; of IPv6 it has 64 bits of them."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is None:
            return str(IPv6Network((found, 64), strict=False))
        found = found.ipv4_mapped
    return str(found)


def _to_make_room(open_from: dict[socket.socket, str]) -> socket.socket:
    """Return the first of the connections from where there are most."""
    crowds = Counter(open_from.values())
    most = max(crowds.values())
    return next(each for each, origin in open_from.items() if crowds[origin] == most)


def _hang_up(connection: socket.socket) -> None:
    """Let the thread of a connection find that it is over."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is

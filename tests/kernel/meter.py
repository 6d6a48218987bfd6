"""Measures a link from behind it: python -m tests.kernel.meter HOST SOURCE SINK BYTES.

Prints the bits of payload a second that came from the source; then it sends to the sink.
"""

from __future__ import annotations

import socket
import sys
import time

END_S = 15.0


def goodput(stream: socket.socket) -> float:
    """Return the bits of payload a second, from the first that comes to the last."""
    stream.settimeout(END_S)
    first = len(stream.recv(65536))
    began = now = time.monotonic()
    received = first
    while data := stream.recv(65536):
        now = time.monotonic()
        received += len(data)
    return (received - first) * 8 / (now - began)


def pour(stream: socket.socket, size: int) -> None:
    """Send so many bytes."""
    stream.settimeout(END_S)
    stream.sendall(bytes(size))


def main() -> None:
    """Measure down, print, and send up."""
    host, source, sink, size = sys.argv[1:]
    with socket.create_connection((host, int(source)), END_S) as stream:
        print(goodput(stream), flush=True)
    with socket.create_connection((host, int(sink)), END_S) as stream:
        pour(stream, int(size))


if __name__ == "__main__":
    main()

"""Measures a link from behind it: python -m tests.kernel.meter HOST SOURCE SINK BYTES.

Prints the bits of payload a second that came from the source; then it sends to the sink. With
`echo HOST PORT` it sends datagrams that come back, and prints which did not and the median.
"""

from __future__ import annotations

import json
import select
import socket
import statistics
import sys
import time

END_S = 15.0
ECHOES = 200
GAP_S = 0.002  # between two


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


def echo(host: str, port: int) -> dict[str, object]:
    """Send datagrams to an echo; return which were lost and how long the others took.

    Order is kept, so once a later one has come back, what is missing is lost.
    """
    took: dict[int, float] = {}
    sent: list[float] = []
    deadline = time.monotonic() + END_S
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stream:
        stream.connect((host, port))
        while max(took, default=0) < ECHOES and (now := time.monotonic()) < deadline:
            if not sent or now - sent[-1] >= GAP_S:
                sent.append(now)
                stream.send(b"%d" % (len(sent) - 1))
            if select.select([stream], [], [], GAP_S / 4)[0]:
                number = int(stream.recv(100))
                took[number] = time.monotonic() - sent[number]
    lost = [number for number in range(ECHOES) if number not in took]
    return {"lost": lost, "median_ms": 1000 * statistics.median(took.values())}


def main() -> None:
    """Measure down, print, and send up."""
    if sys.argv[1] == "echo":
        print(json.dumps(echo(sys.argv[2], int(sys.argv[3]))))
        return
    host, source, sink, size = sys.argv[1:]
    with socket.create_connection((host, int(source)), END_S) as stream:
        print(goodput(stream), flush=True)
    with socket.create_connection((host, int(sink)), END_S) as stream:
        pour(stream, int(size))


if __name__ == "__main__":
    main()

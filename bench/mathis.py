"""TCP over a delay and random losses, beside what Mathis et al. predict: `python -m bench.mathis`.

Mathis, Semke, Mahdavi and Ott, The macroscopic behavior of the TCP congestion avoidance algorithm,
1997: rate = MSS / RTT * C / sqrt(p), with C = sqrt(3/2) for random losses and a receiver that
acknowledges each segment, as Linux does after a loss.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import astuple, dataclass, fields

from bench.lab.daemon import Shaperd
from bench.lab.namespaces import ROOT
from bench.lab.topology import MASTER, NIC, REMOTE, REMOTE_NETWORK, Pair, make_pair
from bench.lab.traffic import Flow, Load, Sender, Sink
from bench.plots import STYLE

FOLDER = ROOT / "docs" / "benchmarks"
MSS_BYTES = 1448  # with the time stamps of RFC 7323
FRAME_BYTES = 1514
RTT_S = 0.05
LOSSES = (0.5, 1, 2, 4)  # percent
FLOWS = 8  # at once: so many losses that their number says something
SETTLE_S, SECONDS = 4.0, 20.0
C = math.sqrt(3 / 2)
PORT = 5_555


@dataclass(frozen=True)
class Point:
    """One measurement: `loss` is the share that was lost, rates are bits of payload a second."""

    asked_percent: float
    loss: float
    goodput_bits: float
    predicted_bits: float


def predicted(loss: float) -> float:
    """Return the bits of payload a second that the model has for a share of losses."""
    return MSS_BYTES * 8 / RTT_S * C / math.sqrt(loss)


def measure(pair: Pair, daemon: Shaperd, percent: float) -> Point:
    """Measure some flows at the peer, each of which has the losses of all in the mean."""
    link = ("delay", f"{RTT_S * 1000:g}ms", "loss", f"{percent}%", "seed", "default")
    daemon.configure("set", "shaper0", *link)
    flow, before = Flow("tcp", REMOTE, PORT), daemon.show("shaper0")["stats"]
    with ExitStack() as stack:
        sink = stack.enter_context(Sink(pair.peer, flow))
        for _ in range(FLOWS):
            stack.enter_context(Sender(pair.host, flow, Load(seconds=SECONDS + SETTLE_S)))
        time.sleep(SETTLE_S)
        began_s, began = time.monotonic(), pair.peer.received_bytes(NIC)
        time.sleep(SECONDS)
        received = pair.peer.received_bytes(NIC) - began
        wire_bits = received * 8 / (time.monotonic() - began_s)
        goodput = wire_bits * MSS_BYTES / FRAME_BYTES / FLOWS
        sink.close()
    after = daemon.show("shaper0")["stats"]
    lost = after["dropped"]["loss"] - before["dropped"]["loss"]
    loss = lost / (lost + after["sent_packets"] - before["sent_packets"])
    return Point(percent, loss, goodput, predicted(loss))


def points() -> Iterator[Point]:
    """Measure everything."""
    with make_pair() as pair, Shaperd(pair.host) as daemon:
        daemon.configure("attach", "shaper0", MASTER)
        daemon.configure("speed", "shaper0", "100mbit")
        pair.host.ip("link set shaper0 up", f"route add {REMOTE_NETWORK} dev shaper0 src 10.0.0.1")
        pair.host.sysctl("net/ipv4/tcp_congestion_control", "reno")
        for percent in LOSSES:
            yield measure(pair, daemon, percent)


def draw(measured: list[Point]) -> None:
    """Write the plot."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.rc_context(STYLE):
        figure, panel = pyplot.subplots(figsize=(6, 3.5))
        shares = [share / 10_000 for share in range(20, 500)]
        panel.plot(
            [100 * share for share in shares],
            [predicted(share) / 1e6 for share in shares],
            color="black",
            label="Mathis et al. (1997)",
        )
        lost = [100 * each.loss for each in measured]
        panel.plot(lost, [each.goodput_bits / 1e6 for each in measured], "o", label="measured")
        panel.set(xscale="log", yscale="log", xlabel="frames lost, %", ylabel="goodput, Mbit/s")
        panel.set_title("TCP (reno), a round trip of 50 ms")
        panel.legend()
        figure.savefig(FOLDER / "mathis.svg", metadata={"Date": None}, bbox_inches="tight")


def main() -> None:
    """Measure, print, and write the table and the plot."""
    measured = []
    for point in points():
        print(*astuple(point), f"{100 * (point.goodput_bits / point.predicted_bits - 1):+.1f} %")
        measured.append(point)
    with (FOLDER / "mathis.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(each.name for each in fields(Point))
        writer.writerows(astuple(point) for point in measured)
    draw(measured)


if __name__ == "__main__":
    main()

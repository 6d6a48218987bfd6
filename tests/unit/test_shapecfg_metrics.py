"""`shapecfg metrics`: what Prometheus is told of shapers."""

from __future__ import annotations

import socket
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shapecfg import metrics
from shapecfg.cli import cli
from shapecfg.client import Client
from tests.runner import make_runner
from tests.unit.fake_daemon import FakeDaemon, answer, shaper

ALARM = {"alarm": "slow", "sentence": "it is busy", "since": 0}
SHOWN = answer(
    shapers=[
        shaper(alarms=[ALARM], stats={"delay_p99_ns": 1_500_000}),
        shaper(ifname="shaper1", link=None, state="detached", options={"rate_bits": 0}),
    ],
    serial=8,
    events={"forwarder-replaced": 2, "speed": 3},
)
Sample = tuple[str, tuple[str, ...]]


def _rank(label: str) -> tuple[bool, str]:
    return label != "device", label


def samples(text: str) -> dict[Sample, float]:
    """Return what a text tells: each name with the values of its labels."""
    return {
        (each.name, tuple(each.labels[key] for key in sorted(each.labels, key=_rank))): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


def test_what_show_tells_is_told_in_base_units(tmp_path: Path) -> None:
    """Bytes and seconds; what is not known is left out."""
    with FakeDaemon(tmp_path / "s", SHOWN) as daemon:
        told = samples(metrics.text(Client(daemon.path)))
    assert told["shaper_up", ()] == 1
    assert told["shaper_sent_bytes_total", ("shaper0",)] == 123456
    assert told["shaper_dropped_packets_total", ("shaper0", "full")] == 3
    assert told["shaper_configured_rate_bytes_per_second", ("shaper0",)] == 8000
    assert told["shaper_busy_seconds_total", ("shaper0",)] == 10
    assert told["shaper_sojourn_seconds", ("shaper0",)] == 0.0015
    assert ("shaper_sojourn_seconds", ("shaper1",)) not in told
    assert told["shaper_alarm", ("shaper0", "slow")] == 1
    assert told["shaper_alarm", ("shaper0", "bypassed")] == 0
    assert told["shaper_state", ("shaper1", "detached")] == 1
    assert told["shaper_state", ("shaper1", "active")] == 0
    assert told["shaper_info", ("shaper1", "route", "", "fifo")] == 1
    assert told["shaper_events_total", ("speed",)] == 3
    assert told["shaper_forwarder_restarts_total", ()] == 2


def test_without_a_daemon_it_is_down(tmp_path: Path) -> None:
    """A scrape succeeds and tells so, which is what alerts are made of."""
    result = make_runner().invoke(cli, ["--socket", str(tmp_path / "none"), "metrics"])
    assert (result.exit_code, samples(result.stdout)) == (0, {("shaper_up", ()): 0})


def test_a_file_is_written_at_once(tmp_path: Path) -> None:
    """node_exporter reads whole files; nothing else is left in its directory."""
    directory = tmp_path / "textfile"
    directory.mkdir()
    with FakeDaemon(tmp_path / "s", SHOWN) as daemon:
        path = directory / "shaper.prom"
        arguments = ["--socket", daemon.path, "metrics", "--textfile", str(path)]
        result = make_runner().invoke(cli, arguments)
    assert (result.exit_code, result.stdout) == (0, "")
    assert samples(path.read_text())["shaper_up", ()] == 1
    assert list(directory.iterdir()) == [path]


def test_scrapes_are_answered(tmp_path: Path) -> None:
    """On the address given, in the text format, and not logged."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with FakeDaemon(tmp_path / "s", SHOWN) as daemon:
        serving = (Client(daemon.path), "127.0.0.1", port)
        threading.Thread(target=metrics.listen, args=serving, daemon=True).start()
        text = scraped(f"http://127.0.0.1:{port}/metrics")
    assert samples(text)["shaper_up", ()] == 1


def scraped(url: str) -> str:
    """Return what is answered once somebody listens."""
    deadline = time.monotonic() + 10
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                body: bytes = response.read()
                return body.decode()
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@pytest.mark.parametrize("address", ["", "http", "localhost:", "0", "1:65536", "1:-1"])
def test_an_address_has_a_port(tmp_path: Path, address: str) -> None:
    """Anything else is refused with what was typed."""
    result = make_runner().invoke(cli, ["metrics", "--listen", address])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"shapecfg: {address!r} is no [HOST:]PORT")


def test_an_address_that_is_taken_is_a_sentence(tmp_path: Path) -> None:
    """It names the address and the reason."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = make_runner().invoke(cli, ["metrics", "--listen", address])
    assert result.exit_code == 2
    assert result.stderr == f"shapecfg: cannot listen on {address}: Address already in use\n"


def test_a_file_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    """It names the file."""
    path = tmp_path / "none" / "shaper.prom"
    arguments = ["--socket", str(tmp_path / "s"), "metrics", "--textfile", str(path)]
    result = make_runner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert result.stderr == f"shapecfg: cannot write {path}: No such file or directory\n"

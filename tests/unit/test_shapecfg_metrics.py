"""`shapecfg metrics`: what Prometheus is told of shapers."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.lab.wait import wait_until
from shapecfg import metrics, scrapes
from shapecfg.cli import cli
from shapecfg.client import Client
from tests.runner import make_runner
from tests.unit.fake_daemon import FakeDaemon, answer, shaper

ALARM = {"alarm": "slow", "sentence": "it is busy", "since": 0}
SHOWN = answer(
    shapers=[
        shaper(alarms=[ALARM], stats={"delay_p99_ns": 1_500_000, "lately_burst_bytes": 3028}),
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
    assert told["shaper_largest_burst_bytes", ("shaper0",)] == 3028
    assert ("shaper_largest_burst_bytes", ("shaper1",)) not in told
    assert told["shaper_info", ("shaper1", "route", "", "fifo")] == 1
    assert told["shaper_events_total", ("speed",)] == 3
    assert told["shaper_forwarder_restarts_total", ()] == 2


def test_without_a_daemon_it_is_down(tmp_path: Path) -> None:
    """A scrape succeeds and tells so, which is what alerts are made of."""
    result = make_runner().invoke(cli, ["--socket", str(tmp_path / "none"), "metrics"])
    assert (result.exit_code, samples(result.stdout)) == (0, {("shaper_up", ()): 0})


def test_a_name_that_is_no_text_is_a_label(tmp_path: Path) -> None:
    """What is no UTF-8 of it is written as an escape, so that two names stay two."""
    names = ["e\udcfa", "e\udcfb"]
    odd = [shaper(ifname=name, link="e\udcff\x1b[2J") for name in names]
    with FakeDaemon(tmp_path / "s", answer(shapers=odd)) as daemon:
        text = metrics.text(Client(daemon.path))
    for digit in "ab":
        assert f'shaper_sent_bytes_total{{device="e\\\\udcf{digit}"}}' in text


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
    with FakeDaemon(tmp_path / "s", SHOWN) as daemon, listening(Client(daemon.path)) as port:
        text = scraped(f"http://127.0.0.1:{port}/metrics")
    assert samples(text)["shaper_up", ()] == 1


@contextlib.contextmanager
def listening(client: Client, host: str = "127.0.0.1") -> Iterator[int]:
    """Answer scrapes on a port that is free; it goes with the process."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    threading.Thread(target=metrics.listen, args=(client, host, port), daemon=True).start()
    name = f"[{host}]" if ":" in host else host
    scraped(f"http://{name}:{port}/metrics")
    yield port


def test_it_listens_on_ipv6(tmp_path: Path) -> None:
    """An address in brackets is what was typed before the port."""
    with FakeDaemon(tmp_path / "s", SHOWN) as daemon, listening(Client(daemon.path), "::1"):
        pass


def test_clients_that_send_nothing_make_room(tmp_path: Path) -> None:
    """More silent ones than there is room for keep nobody out, and cost a few threads."""
    with (
        FakeDaemon(tmp_path / "s", SHOWN) as daemon,
        listening(Client(daemon.path)) as port,
        contextlib.ExitStack() as silent,
    ):
        before = threading.active_count()
        for _ in range(3 * scrapes.MOST_CONNECTIONS):
            silent.enter_context(socket.create_connection(("127.0.0.1", port), 10))
        assert samples(scraped(f"http://127.0.0.1:{port}/metrics"))["shaper_up", ()] == 1
        most = before + scrapes.MOST_CONNECTIONS + 1
        wait_until(lambda: threading.active_count() <= most, "threads of clients to end")


def test_a_crowd_of_one_address_keeps_no_other_out(tmp_path: Path) -> None:
    """What comes from elsewhere is answered although it is slow and the crowd comes after it."""
    with (
        FakeDaemon(tmp_path / "s", SHOWN) as daemon,
        listening(Client(daemon.path)) as port,
        socket.create_connection(("127.0.0.1", port), 10, ("127.0.0.2", 0)) as slow,
        contextlib.ExitStack() as crowd,
    ):
        slow.sendall(b"GET /metrics HTTP/1.1\r\n")
        for _ in range(3 * scrapes.MOST_CONNECTIONS):
            crowd.enter_context(socket.create_connection(("127.0.0.1", port), 10))
        slow.sendall(b"\r\n")
        assert slow.recv(65536).startswith(b"HTTP/1.0 200 OK")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_addresses_that_one_client_has_count_as_one(address: str, expected: str) -> None:
    """Of IPv6 a host has 64 bits of addresses to choose from."""
    assert scrapes.origin(address) == expected


def test_no_nameserver_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not answer would hold up the start."""
    monkeypatch.setattr(socket, "getfqdn", lambda _: pytest.fail("a name was looked up"))
    with FakeDaemon(tmp_path / "s", SHOWN) as daemon, listening(Client(daemon.path)):
        pass


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\xff",
        b"GET\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
        b"GET /metrics?name[]=%ff%00 HTTP/1.1\r\nAccept: \xff\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 100_000,
        b"GET / HTTP/9.9\r\n\r\n",
        b"",
    ],
)
def test_what_is_no_request_is_answered_and_not_logged(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], sent: bytes
) -> None:
    """Nothing that is sent is a traceback, and the next scrape is answered."""
    with FakeDaemon(tmp_path / "s", SHOWN) as daemon, listening(Client(daemon.path)) as port:
        odd = socket.create_connection(("127.0.0.1", port), 10)
        with odd, contextlib.suppress(OSError):
            odd.sendall(sent)
            odd.shutdown(socket.SHUT_WR)
            while odd.recv(65536):
                pass
        with socket.create_connection(("127.0.0.1", port), 10) as hasty:
            hasty.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            hasty.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert samples(scraped(f"http://127.0.0.1:{port}/metrics"))["shaper_up", ()] == 1
    assert capfd.readouterr() == ("", "")


def test_many_scrapes_are_one_call(tmp_path: Path) -> None:
    """Anyone may scrape, so what the daemon is asked does not grow with it."""
    with FakeDaemon(tmp_path / "s", SHOWN) as daemon, listening(Client(daemon.path)) as port:
        for _ in range(20):
            scraped(f"http://127.0.0.1:{port}/metrics")
        assert len(daemon.requests) <= 3


def test_a_link_in_a_directory_of_others_is_not_followed(tmp_path: Path) -> None:
    """What could be guessed to be written in between leads elsewhere; it is left alone."""
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    path = tmp_path / "shaper.prom"
    path.symlink_to(victim)
    for thread in (threading.get_ident(), threading.main_thread().ident):
        guess = tmp_path / f"shaper.prom.{os.getpid()}.{thread}"
        if not guess.is_symlink():
            guess.symlink_to(victim)
    with FakeDaemon(tmp_path / "s", SHOWN) as daemon:
        metrics.write_textfile(Client(daemon.path), path)
    assert victim.read_text() == "as it was"
    assert not path.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


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

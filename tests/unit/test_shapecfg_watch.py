"""The live view: a graph against the limit, what is dropped and why, and what the keys do."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from shapecfg.cli import cli
from shapecfg.client import CallError, Client
from shapecfg.reply import Shaper
from shapecfg.series import Series
from shapecfg.watch import Controls, graph, plain_line, view, watch
from tests.runner import make_runner
from tests.unit.fake_daemon import FakeDaemon, answer, shaper

SECOND = 1_000_000_000


class Teller:
    """A daemon whose one shaper sends at a steady rate."""

    def __init__(self, **changes: Any) -> None:
        self.changes = changes
        self.sent_bytes = 0

    def show(self, ifname: str | None = None) -> list[Shaper]:
        """Return the shaper, some bytes later."""
        self.sent_bytes += 8000
        changes = {**self.changes, "stats": {"sent_bytes": self.sent_bytes}}
        return [cast(Shaper, shaper(**changes))]


def series_of(*rates: int, **changes: Any) -> Series:
    """Return what was seen of a shaper that sent so many bytes in each second."""
    series = Series()
    sent = 0
    for second, each in enumerate((0, *rates)):
        sent += each
        told = cast(Shaper, shaper(**changes, stats={"sent_bytes": sent}))
        series.add([told], now_ns=second * SECOND)
    return series


def drawn(series: Series, controls: Controls | None = None, width: int = 80) -> str:
    """Return the view as text."""
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(view(series, controls or Controls(), width))
    return console.export_text()


def test_a_panel_has_what_matters() -> None:
    """Device, limit, state, the rate and its share, drops and warnings."""
    text = drawn(series_of(4000, 8000, warnings=["no route leads through shaper0"]))
    for word in ("shaper0@eth1", "64Kbit", "active", "(100.0% of 64Kbit)", "no route leads"):
        assert word in text


def test_a_graph_is_as_high_as_its_rate() -> None:
    """A full line for the limit's share, nothing for nothing, and the latest at the right."""
    lines = graph([0.0, 500.0, 1100.0], 1000, 5)
    assert [len(line) for line in lines] == [5] * 4
    columns = ["".join(line[index] for line in lines) for index in range(5)]
    assert columns[:3] == ["    "] * 3
    assert columns[4] == "████"
    assert columns[3].strip().startswith(("▆", "▇", "█"))
    assert len(graph([1.0] * 500, 0, 50)[0]) == 50


def test_keys() -> None:
    """Q ends, p pauses, s sorts by name, rate and drops in turn; others do nothing."""
    controls = Controls()
    for key in ("x", "p", "s", "s"):
        controls.press(key)
    assert (controls.is_paused, controls.order, controls.has_ended) == (True, 2, False)
    assert "by drops, paused" in drawn(series_of(1), controls)
    controls.press("s")
    controls.press("q")
    assert (controls.order, controls.has_ended) == (0, True)


def test_sorting_puts_the_busiest_first() -> None:
    """By rate."""
    series = Series()
    for second in range(2):
        told = [
            cast(Shaper, shaper(ifname=name, stats={"sent_bytes": rate * second}))
            for name, rate in (("shaper0", 100), ("shaper1", 900))
        ]
        series.add(told, now_ns=second * SECOND)
    text = drawn(series, Controls(order=1))
    assert text.index("shaper1") < text.index("shaper0")


def test_a_pipe_gets_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """One for each shaper and second, from the second look on."""
    watch(cast(Client, Teller()), (), is_json=False, interval_seconds=0.0, looks=3)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("shaper0 active sent ") for line in lines)


def test_json_is_a_line_a_look(capsys: pytest.CaptureFixture[str]) -> None:
    """Whole, with the time."""
    watch(cast(Client, Teller()), ("shaper0",), is_json=True, interval_seconds=0.0, looks=2)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["shapers"][0]["ifname"] for line in lines] == ["shaper0"] * 2
    assert lines[0]["time"] <= lines[1]["time"]


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    """An SVG with the last view, and no view before it."""
    path = tmp_path / "watch.svg"
    watch(cast(Client, Teller()), (), is_json=False, interval_seconds=0.0, looks=4, svg=path)
    text = path.read_text()
    assert text.startswith("<svg")
    assert text.count("shaper0@eth1") == 1
    assert "https://" not in text.replace("https://www.textualize.io", "")


def test_a_shaper_without_a_speed_has_no_share() -> None:
    """It is drawn all the same."""
    series = series_of(0, 0, options={"rate_bits": 0}, link=None, state="detached")
    assert "no speed" in drawn(series)
    assert "%" not in plain_line(series.tracks["shaper0"])


def test_a_first_look_says_so() -> None:
    """No rate is made up."""
    assert "(first look)" in plain_line(series_of().tracks["shaper0"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("watch --seconds nan", "--seconds nan is out of bounds (0.01 to 86400)"),
        ("watch --seconds=-1", "--seconds -1 is out of bounds (0.01 to 86400)"),
        ("watch --seconds inf", "--seconds inf is out of bounds (0.01 to 86400)"),
        ("monitor --seconds 0", "--seconds 0 is out of bounds (0.01 to 86400)"),
        ("watch --looks 0", "invalid value for '--looks': 0 is not in the range x>=1"),
    ],
)
def test_a_time_that_is_none_is_refused(tmp_path: Path, words: str, said: str) -> None:
    """It would be no pause at all, or one without an end."""
    result = make_runner().invoke(cli, ["--socket", str(tmp_path / "s"), *words.split()])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"shapecfg: {said}")


def test_a_picture_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    """It names the file."""
    path = tmp_path / "none" / "watch.svg"
    with pytest.raises(CallError, match=f"cannot write {path}: No such file"):
        watch(cast(Client, Teller()), (), is_json=False, interval_seconds=0.0, looks=1, svg=path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminal_is_left_as_it_was(tmp_path: Path, number: signal.Signals) -> None:
    """The screen, the cursor and the echo, also when the program is ended by a signal."""
    master, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    with FakeDaemon(tmp_path / "s", answer(shapers=[shaper()])) as daemon:
        command = [sys.executable, "-m", "shapecfg", "--socket", daemon.path, "watch"]
        environment = {**os.environ, "TERM": "xterm"}
        process = subprocess.Popen(
            command, env=environment, stdin=terminal, stdout=terminal, stderr=terminal
        )
        drawn = read_until(master, b"shaper0@eth1")
        assert b"\x1b[?1049h" in drawn
        process.send_signal(number)
        drawn = read_until(master, b"\x1b[?1049l")
        assert process.wait(10) == 128 + number
    assert termios.tcgetattr(terminal) == before
    os.close(master)
    os.close(terminal)


def read_until(descriptor: int, wanted: bytes) -> bytes:
    """Return what is drawn until something is."""
    drawn = b""
    while wanted not in drawn:
        ready, _, _ = select.select([descriptor], [], [], 10)
        assert ready, drawn
        drawn += os.read(descriptor, 65536)
    return drawn

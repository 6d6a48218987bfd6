"""What is said at the end of a run, and the options it is started with."""

from __future__ import annotations

import copy
import json
from typing import Any, cast

import pytest

from shapecfg.reply import Shaper
from shapecfg.run import summary
from tests.unit.fake_daemon import SHAPER
from tests.unit.test_shapecfg_cli import run


def shown(**stats: Any) -> Shaper:
    """Return a shaper with these figures."""
    shaper = copy.deepcopy(SHAPER)
    shaper["stats"] |= stats
    return cast("Shaper", shaper)


def test_line_has_both_directions() -> None:
    """Bytes, rate, drops of the command's frames and delay, of down and then of up."""
    down = shown(
        sent_bytes=5_240_000,
        achieved_bits=7_980_000,
        dropped={"codel": 3, "limit": 1, "neighbour": 2},
        delay_p99_ns=12_340_000,
    )
    up = shown(sent_bytes=999, achieved_bits=None, dropped={}, delay_p99_ns=None)
    assert summary.line(down, up) == (
        "down 5.2 MB at 7.98Mbit while busy, 4 dropped, delay p99 12.3 ms; up 999 B, 0 dropped"
    )


def test_document_has_the_end_and_both_shapers() -> None:
    """Programs are told the status, the signal by its name, and what `show` has."""
    ended = summary.Ended(143, 15, 1.23456)
    told = json.loads(summary.document(("sleep", "9"), ended, shown(), shown(sent_bytes=7)))
    assert told["command"] == ["sleep", "9"]
    assert (told["exit_status"], told["signal"], told["seconds"]) == (143, "SIGTERM", 1.235)
    assert told["up"]["stats"]["sent_bytes"] == 7


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("run", "run needs a command"),
        ("run --down 8mbit --", "run needs a command"),
        ("run --down 10m -- true", "'10m'"),
        ("run --up 0 -- true", "'0'"),
        ("run --delay 40 -- true", "delay '40' is no time: write it as 20ms"),
        ("run --delay -5ms -- true", "'-5ms'"),
        ("run --delay 1h -- true", "'1h'"),
        ("run --delay 1ms/2ms/3ms -- true", "1ms/2ms/3ms: write one value"),
        ("run --down 10gbit --delay 3600s -- true", "4291653 MiB of memory"),
        ("run --loss 101% -- true", "loss 101% is more than 100%"),
        ("run --loss 0.5 -- true", "loss '0.5' is no percentage"),
        ("run --profile 9g -- true", "profile '9g' is unknown: write modem-56k, edge"),
        ("run --json", "requires an argument"),
        ("run --faster -- true", "no such option"),
    ],
)
def test_mistakes_are_one_sentence(arguments: str, said: str) -> None:
    """What cannot be run is refused before anything is made, naming the value."""
    done = run("/nowhere", *arguments.split())
    assert done.exit_code == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1

"""What is printed is text: nothing of an answer moves the cursor or paints."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from shapecfg.monitor import lines
from tests.unit.fake_daemon import FakeDaemon, answer, refusal, shaper
from tests.unit.test_shapecfg_cli import run
from tests.unit.test_shapecfg_monitor import EVENT, batch


@pytest.mark.parametrize("option", ["", "-d", "-s", "-br", "-c"])
def test_nothing_of_an_answer_moves_the_cursor(tmp_path: Path, option: str) -> None:
    """Devices can have any names, and a daemon's words may be those of others."""
    evil = "e\x1b]0;x\x07\r\x9bth"
    alarm = {"alarm": evil, "sentence": evil, "since": 0}
    options = {"queue": evil, "line": {evil: evil}}
    hostile = shaper(
        ifname=evil,
        link=evil,
        capture="cgroup",
        cgroup=evil,
        state=evil,
        operstate=evil,
        warnings=[evil],
        alarms=[alarm],
        options=options,
    )
    with FakeDaemon(tmp_path / "s", answer(shapers=[hostile])) as daemon:
        result = run(daemon.path, *filter(None, [option]), "show")
    assert "e?]0;x???th" in result.stdout
    assert "e?]0;x???th" in result.stderr
    own = re.sub("\x1b\\[(3[126]|0)m|\n", "", result.output)
    assert own.isprintable()


def test_a_refusal_does_not_move_the_cursor(tmp_path: Path) -> None:
    """It is a sentence of the daemon, and it may have one of a forwarder in it."""
    with FakeDaemon(tmp_path / "s", refusal("org.shaper.Busy", "no\x1b[2J")) as daemon:
        result = run(daemon.path, "detach", "shaper0")
    assert result.stderr == "shapecfg: no?[2J\n"


def test_a_sentence_does_not_move_the_cursor() -> None:
    """For programs it is as it was."""
    odd = {**EVENT, "link": "e\x1b[2Jth", "sentence": "a\rb"}
    (line,) = lines([batch(odd)], is_json=False)  # type: ignore[list-item]
    assert line.endswith("shaper0@e?[2Jth speed: a?b")
    (text,) = lines([batch(odd)], is_json=True)  # type: ignore[list-item]
    assert json.loads(text) == odd

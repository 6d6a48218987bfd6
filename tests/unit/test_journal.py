"""Lines of the log bear their priority in the journal, and none comes once a second."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from shaper.supervisor.journal import PriorityFormatter, Repetition, handler, priority


def record(message: str, *args: object, level: int = logging.WARNING) -> logging.LogRecord:
    """Return a record."""
    return logging.LogRecord("shaper", level, "", 0, message, args, None)


@pytest.mark.parametrize(
    ("level", "number"), [("CRITICAL", 2), ("ERROR", 3), ("WARNING", 4), ("INFO", 6), ("DEBUG", 7)]
)
def test_levels_are_those_of_syslog(level: str, number: int) -> None:
    """`journalctl -p err` shows errors, and what is worse."""
    assert priority(getattr(logging, level)) == number


def test_every_line_bears_the_priority() -> None:
    """The journal takes each line for an entry of its own."""
    lines = PriorityFormatter("%(message)s").format(record("one\ntwo", level=logging.ERROR))
    assert lines == "<3>one\n<3>two"


def test_priorities_are_for_the_journal_alone(tmp_path: Path) -> None:
    """A terminal or a file gets none, though the variable is inherited."""
    with (tmp_path / "log").open("w") as log:
        status = os.fstat(log.fileno())
        named = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        journal = handler(named, log.fileno())
        assert isinstance(journal.formatter, PriorityFormatter)
        for environ in ({}, {"JOURNAL_STREAM": "1:1"}):
            other = handler(environ, log.fileno())
            assert not isinstance(other.formatter, PriorityFormatter)


def test_the_same_again_and_again_is_left_out_and_counted() -> None:
    """Five lines a minute of one thing; others are not concerned."""
    now = [0.0]
    repetition = Repetition(lambda: now[0])
    told = []
    for second in range(65):
        now[0] = second
        line = record("%s: it flaps", "shaper0")
        if repetition.filter(line):
            told.append(line.getMessage())
        assert second != 30 or repetition.filter(record("%s: it flaps", "shaper1"))
    assert len(told) == 10
    assert told[5] == "shaper0: it flaps (55 more such lines were left out)"

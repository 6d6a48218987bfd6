"""Lines of the log bear their priority in the journal, and none comes once a second."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

import pytest

from shaper.events import LOGGER, Event, Kind, tell
from shaper.supervisor.journal import (
    JournalHandler,
    PriorityFormatter,
    Repetition,
    handler,
    message_id,
    priority,
)


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
        assert isinstance(journal, JournalHandler)
        assert isinstance(journal.formatter, PriorityFormatter)
        journal.close()
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


def fields(entry: bytes) -> dict[str, str]:
    """Return the fields of an entry as the journal reads them."""
    read = {}
    while entry:
        line, _, entry = entry.partition(b"\n")
        name, is_short, value = line.partition(b"=")
        if not is_short:
            length = int.from_bytes(entry[:8], "little")
            value, entry = entry[8 : 8 + length], entry[8 + length + 1 :]
        read[name.decode()] = value.decode()
    return read


def test_events_have_fields_in_the_journal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Device, master, user and kind can be asked for, and every kind has an id of its own."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "socket"))
        journal.setblocking(False)
        log = JournalHandler(tmp_path / "socket")
        LOGGER.addHandler(log)
        try:
            tell(Event(Kind.ALARM, "shaper0", "eth1"), "%s: one\ntwo", "shaper0")
            tell(Event(Kind.SPEED, "shaper0", uid=1000), "faster")
        finally:
            LOGGER.removeHandler(log)
            log.close()
        assert fields(journal.recv(4096)) == {
            "MESSAGE": "shaper0: one\ntwo",
            "PRIORITY": "4",
            "SYSLOG_IDENTIFIER": "shaperd",
            "MESSAGE_ID": message_id(Kind.ALARM),
            "SHAPER_EVENT": "alarm",
            "SHAPER_DEVICE": "shaper0",
            "SHAPER_MASTER": "eth1",
        }
        second = fields(journal.recv(4096))
        assert (second["SHAPER_UID"], second["PRIORITY"]) == ("1000", "6")
    assert len({message_id(kind) for kind in Kind}) == len(Kind)
    assert message_id(Kind.ALARM) == "778de6348d54548d9371858ac699ec01"
    assert capsys.readouterr().err == ""


def test_a_name_of_any_bytes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message can be printed, whatever a device is called; the field has the name as it is."""
    monkeypatch.setattr(LOGGER, "propagate", False)  # what pytest keeps it cannot send on
    name = b"e\xff\x1b[2J".decode(errors="surrogateescape")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "socket"))
        journal.setblocking(False)
        log = JournalHandler(tmp_path / "socket")
        LOGGER.addHandler(log)
        try:
            tell(Event(Kind.MASTER, "shaper0", name), "eth1 is %s now", name)
        finally:
            LOGGER.removeHandler(log)
            log.close()
        entry = journal.recv(4096)
    assert b"MESSAGE=eth1 is e??[2J now\n" in entry
    assert b"SHAPER_MASTER=e\xff\x1b[2J\n" in entry


@pytest.mark.parametrize("stream", ["1:1", "the log"])
def test_no_line_moves_the_cursor(tmp_path: Path, stream: str) -> None:
    """On a terminal, in a file and in the journal."""
    with (tmp_path / "log").open("w") as log:
        status = os.fstat(log.fileno())
        own = f"{status.st_dev}:{status.st_ino}"
        named = {"JOURNAL_STREAM": own if stream == "the log" else stream}
        made = handler(named, log.fileno())
    assert made.format(record("eth1 is %s", "e\x1b[2J\udcff")).endswith(": eth1 is e?[2J?")
    made.close()


def test_without_a_journal_there_are_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A record that the journal does not take is on standard error, with its priority."""
    log = JournalHandler(tmp_path / "nothing")
    log.emit(record("it %s", "works", level=logging.ERROR))
    log.close()
    assert capsys.readouterr().err == "<3>shaperd: ERROR: it works\n"

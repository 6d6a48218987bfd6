"""Tables and patterns are read from files, kept, shown by their length, and handed over whole."""

from __future__ import annotations

import errno
import os
from collections import Counter
from dataclasses import replace
from math import sqrt
from pathlib import Path
from random import Random
from statistics import mean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapecfg import settings
from shaper.channel import bulk, messages
from shaper.desired.config import parse_config
from shaper.desired.document import write_config as write_document
from shaper.desired.line_files import parse_pattern, parse_table, write_pattern, write_table
from shaper.desired.line_syntax import change_line, write_line
from shaper.desired.store import Store, decode, encode
from shaper.discipline.chance import DelayProcess
from shaper.errors import InvalidValue
from shaper.line_options import Delay, Distribution, LineOptions, LossPattern
from shaper.model import Options, Queue, Settings, Spec
from tests.unit.instantly import instantly
from tests.unit.machine_rig import SPEC, Machine
from tests.unit.test_commands import NOTHING

MS = 1_000_000
TABLE = "# as maketable writes it\n 8500 -9000\n-100 -100\n"
PATTERN = "000 1\n0 # then again\n"
TABLED = Delay(20 * MS, 5 * MS, Distribution.TABLE, 10**8, (-9000, -100, -100, 8500))
LINE = LineOptions(TABLED, LossPattern(b"\0\0\0\1\0"))
TEXTS = {
    "delay": "20ms jitter 5ms distribution table -9000,-100,-100,8500 correlation 10%",
    "loss": "pattern 00010",
}
LINKED = Spec("shaper0", "eth1", Options(8000, line=LINE))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Return a table and a pattern."""
    table, pattern = tmp_path / "some.dist", tmp_path / "some.loss"
    table.write_text(TABLE)
    pattern.write_text(PATTERN)
    return table, pattern


def test_words_are_read_and_written() -> None:
    """The content stands where a file's name was."""
    assert change_line(LineOptions(), TEXTS) == LINE
    assert write_line(LINE) == TEXTS
    assert write_line(LINE, is_brief=True) == {
        "delay": "20ms jitter 5ms distribution table of 4 values correlation 10%",
        "loss": "pattern of 5 frames",
    }
    assert change_line(LINE, {"delay": "default", "loss": "default"}) == LineOptions()


@given(st.lists(st.integers(-32768, 32767), min_size=2, unique=True), st.binary(min_size=1))
def test_what_is_written_is_read(values: list[int], data: bytes) -> None:
    """Quantiles in order, whatever the order was; frames as they were."""
    assert parse_table(write_table(values)) == tuple(sorted(values))
    pattern = bytes(each & 1 for each in data)
    assert parse_pattern(write_pattern(pattern)) == pattern


def test_tables_of_iproute2_are_taken_as_they_are() -> None:
    """What is drawn from one has its mean and its deviation."""
    paths = [path for kind in ("tc", "*/tc") for path in Path("/usr/lib").glob(f"{kind}/*.dist")]
    if not paths:
        pytest.skip("needs a table of iproute2 (/usr/lib/tc)")
    for path in paths:
        table = parse_table(path.read_text())
        assert len(table) == 4096
        process = DelayProcess(Delay(MS, 8192, Distribution.TABLE, table=table), Random(7))
        drawn = [process.next_ns() - MS for _ in range(20_000)]
        assert mean(drawn) == pytest.approx(mean(table), abs=4 * 8192 / sqrt(20_000))
        assert pstdev(drawn) == pytest.approx(pstdev(table), rel=0.03)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "no values"),
        ("# nothing\n", "no values"),
        ("8\n8 8\n", "the value 8 alone"),
        ("1 2\n3 x4\n", "line 2: 'x4' is no whole number"),
        ("1 2.5", "line 1: '2.5' is no whole number"),
        ("1 \u0662", "is no whole number"),
        ("1\n-32769", "line 2: -32769 is not in -32768 to 32767"),
        ("1 " + "9" * 5000, "is not in"),
        ("1 --2", "'--2'"),
        ("1 2 " * 8193, "line 1: more than 16384 values"),
    ],
)
def test_a_table_of_nonsense_is_refused(text: str, named: str) -> None:
    """With line and value."""
    with pytest.raises(InvalidValue) as refused:
        parse_table(text)
    assert named in str(refused.value)
    assert len(str(refused.value)) < 120


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "a pattern without a frame"),
        ("0 1\n0 2\n", "line 2: '2' is neither 0 nor 1"),
        ("0\u0661", "line 1: '\u0661' is neither"),
        ("0" * 1_000_001, "line 1: a pattern of more than 1000000 frames"),
    ],
)
def test_a_pattern_of_nonsense_is_refused(text: str, named: str) -> None:
    """With line and value."""
    with pytest.raises(InvalidValue) as refused:
        parse_pattern(text)
    assert named in str(refused.value)


@pytest.mark.parametrize(
    ("key", "text", "named"),
    [
        ("delay", "20ms jitter 5ms distribution table", "distribution table has no values"),
        (
            "delay",
            "20ms jitter 5ms distribution table some.dist",
            "'some.dist' is no whole number",
        ),
        ("delay", "20ms distribution table 1,2", "has no jitter"),
        ("delay", "20ms jitter 5ms distribution table 1,2 wobble", "'wobble'"),
        ("loss", "pattern", "loss pattern has no value"),
        ("loss", "pattern 01 10", "one value is enough"),
        ("loss", "pattern 0a1", "pattern 0a1: line 1: 'a' is neither"),
    ],
)
def test_content_that_makes_no_sense_is_refused(key: str, text: str, named: str) -> None:
    """In a message of one line, however long the content."""
    with pytest.raises(InvalidValue) as refused:
        change_line(LineOptions(), {key: text})
    assert named in str(refused.value)
    long = ",".join(["7", "8"] * 5000)
    with pytest.raises(InvalidValue) as refused:
        change_line(LineOptions(), {"delay": f"20ms distribution table {long}"})
    assert len(str(refused.value)) < 160


def test_the_command_reads_the_files(files: tuple[Path, Path]) -> None:
    """And refuses them with file, line and value."""
    table, pattern = map(str, files)
    words = ("delay", "20ms", "jitter", "5ms", "distribution", "table", table)
    read = settings.read((*words, "correlation", "10%", "loss", "pattern", pattern))
    assert read == {"line": TEXTS}
    files[0].write_text("1\nx\n")
    files[1].write_text("")
    for each, named in (
        (words, f"table {table}: line 2: 'x'"),
        (("loss", "pattern", pattern), f"pattern {pattern}: a pattern without"),
        (("loss", "pattern", "/no/such"), "cannot read /no/such"),
    ):
        with pytest.raises(InvalidValue) as refused:
            settings.read(each)
        assert named in str(refused.value)


def test_a_configuration_names_files_or_has_their_content(files: tuple[Path, Path]) -> None:
    """`save` writes the content, so that it needs no file; so does the state."""
    table, pattern = files
    device = "[device.shaper0]\nmaster = 'eth1'\nspeed = 8000\n"
    delay = f"delay = '20ms jitter 5ms distribution table {table} correlation 10%'\n"
    assert parse_config(f"{device}{delay}loss = 'pattern {pattern}'").devices == (LINKED,)
    assert parse_config(write_document([LINKED])).devices == (LINKED,)
    assert decode(encode([LINKED])) == [LINKED]
    for value, named in (
        ("some.loss", "'some.loss' is no absolute path"),
        ("/no/such", "cannot read the table or pattern /no/such: No such file"),
        (str(table), "neither 0 nor 1"),
    ):
        with pytest.raises(InvalidValue, match=r"^device\.shaper0: ") as refused:
            parse_config(f"{device}loss = 'pattern {value}'")
        assert named in str(refused.value)


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("trace = '/etc/passwd'", "trace '/etc/passwd' is a file's name"),
        ("trace = '/etc/passwd once'", "trace '/etc/passwd' is a file's name"),
        ("loss = 'pattern /etc/passwd'", "pattern '/etc/passwd' is a file's name"),
        (
            "delay = '1ms jitter 1ms distribution table passwd'",
            "pattern 'passwd' is a file's name",
        ),
    ],
)
@instantly
async def test_what_is_restored_names_no_file(machine: Machine, setting: str, named: str) -> None:
    """The daemon may be able to read what the client is not."""
    async with machine.running(SPEC) as commands:
        with pytest.raises(InvalidValue) as refused:
            await commands.restore_configuration(f"[device.shaper0]\n{setting}\n")
        assert named in str(refused.value)


def test_a_state_that_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    """The old one stays, and a warning says so."""
    store = Store(tmp_path, most_bytes=300)
    assert store.keep([LINKED]) == []
    (warning,) = store.keep([LINKED, replace(LINKED, ifname="shaper1")])
    assert os.strerror(errno.EFBIG) in warning
    assert store.load() == [LINKED]


def test_they_go_beside_the_message() -> None:
    """The longest of either would not fit into it."""
    table = tuple(range(-8192, 8192))
    line = LineOptions(
        Delay(MS, MS, Distribution.TABLE, 0, table), LossPattern(b"\0\1" * 500_000), seed=7
    )
    sent = Settings(10**6, 1514, 9000, Queue.FIFO, 1000, 10**6, line=line)
    assert bulk.is_needed(sent)
    assert not bulk.is_needed(replace(sent, line=LineOptions(Delay(MS, MS))))
    ours, theirs = messages.pair()
    with ours, theirs:
        descriptor = bulk.pack(sent)
        messages.send_order(ours, 1, messages.Configure(3, sent), descriptor)
        os.close(descriptor)
        received = messages.receive_order(theirs)
    assert received is not None
    assert isinstance(received.order, messages.Configure)
    assert received.order.settings is not None
    assert received.descriptor is not None
    taken = bulk.unpack(received.order.settings, received.descriptor)
    os.close(received.descriptor)
    assert taken == sent
    assert Counter(map(type, taken.line.delay.table)) == {int: 16384}


@instantly
async def test_show_has_their_length(machine: Machine) -> None:
    """What is refused leaves the link as it was."""
    async with machine.running(SPEC) as commands:
        await commands.set_options("shaper0", **NOTHING | {"line": {**TEXTS, "seed": "7"}})
        with pytest.raises(InvalidValue, match="neither 0 nor 1"):
            await commands.set_options("shaper0", **NOTHING | {"line": {"loss": "pattern x"}})
        shown = commands.show("shaper0")[0]["options"]["line"]
        assert shown == write_line(replace(LINE, seed=7), is_brief=True)
        assert machine.supervisor.specs()["shaper0"].options.line == replace(LINE, seed=7)

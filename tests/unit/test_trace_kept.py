"""A trace is asked for, shown, saved and handed over, and goes on where it was."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shapecfg import settings
from shaper.channel import bulk, messages
from shaper.desired.config import initial_specs, parse_config
from shaper.desired.continuing import begun, going_on
from shaper.desired.document import write_config
from shaper.desired.store import decode, encode
from shaper.desired.trace_syntax import parse_trace, write_trace
from shaper.errors import InvalidValue
from shaper.model import Options, Queue, Settings, Spec
from shaper.trace import Playback, Trace
from tests.unit.instantly import instantly
from tests.unit.machine_rig import SPEC, Machine
from tests.unit.test_commands import NOTHING

TRACE = Trace((0, 500_000, 2_000_000), (10_000_000, 0, 64_000), 3_500_000)
TEXT = "loop\n0,10mbit\n0.5,0\n2,64kbit\n"
PLAYED = Spec("shaper0", "eth1", Options(8000, playback=Playback(TRACE, 7)))


@pytest.mark.parametrize("repeats", [True, False])
def test_what_is_written_is_read(repeats: bool) -> None:
    """The steps, the length and the mode, of either format."""
    for text in ("0,10mbit\n0.000001,0\n2,64kbit\n", "1\n1\n3\n1000\n", "1,800bit\n1.5,0\n9,end"):
        trace = parse_trace(text, repeats=repeats)
        assert parse_trace(write_trace(trace), repeats=not repeats) == trace


def test_the_state_keeps_where_it_was() -> None:
    """Until the machine is started anew, whose clock begins anew."""
    text = encode([PLAYED])
    assert decode(text) == [PLAYED]
    (restarted,) = decode(text, boot="another start")
    assert restarted.options.playback == Playback(TRACE)


def test_a_configuration_names_a_file_or_has_the_lines(tmp_path: Path) -> None:
    """`save` writes the lines, so that it needs no file."""
    path = tmp_path / "lte.trace"
    path.write_text("0,10mbit\n0.5,0\n2,64kbit\n")
    table = "[device.shaper0]\nmaster = 'eth1'\nspeed = 8000\n"
    fresh = replace(PLAYED, options=replace(PLAYED.options, playback=Playback(TRACE)))
    assert parse_config(f"{table}trace = '{path}'").devices == (fresh,)
    (once,) = parse_config(f"{table}trace = '{path} once'").devices
    assert once.options.playback == Playback(replace(TRACE, repeats=False))
    assert parse_config(write_config([PLAYED])).devices == (fresh,)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("/no/such.trace", "/no/such.trace"),
        ("lte.trace", "'lte.trace' is no absolute path"),
        ("/dev/zero", "/dev/zero"),
        ("0,10mbit\\n1,fast", "line 2: 'fast'"),
        ("0,0\\n1,0", "offers 0 bit/s"),
        ("loop\\n", "no lines"),
    ],
)
def test_a_bad_one_is_refused_with_its_place_and_value(value: str, named: str) -> None:
    """And the device it was for."""
    with pytest.raises(InvalidValue, match=r"^device\.shaper0: ") as refused:
        parse_config(f'[device.shaper0]\ntrace = "{value}"')
    assert named in str(refused.value)


def test_one_that_is_declared_goes_on_and_another_begins() -> None:
    """After a restart as after a reload."""
    fresh = replace(PLAYED, options=replace(PLAYED.options, playback=Playback(TRACE)))
    other = replace(fresh, options=replace(fresh.options, playback=Playback(parse_trace("5"))))
    config = parse_config(write_config([PLAYED]))
    assert initial_specs(config, [PLAYED]) == [PLAYED]
    assert going_on(other, PLAYED) == other
    started = begun(going_on(other, PLAYED), 99).options.playback
    assert started is not None
    assert started.began_us == 99
    assert begun(PLAYED, 99) == PLAYED


def test_steps_go_beside_the_message() -> None:
    """A hundred thousand of them would not fit into it."""
    starts, rates = tuple(range(0, 5_000_000, 50)), (0, 10**15) * 50_000
    playback = Playback(Trace(starts, rates, 5_000_000, False), 123)
    sent = Settings(10**6, 1514, 9000, Queue.FIFO, 1000, 10**6, playback=playback)
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
    taken = bulk.unpack(received.order.settings, received.descriptor).playback
    os.ftruncate(received.descriptor, 96)
    with pytest.raises(OSError, match="values beside a message"):
        bulk.unpack(received.order.settings, received.descriptor)
    os.close(received.descriptor)
    assert taken is not None
    assert tuple(taken.trace.starts_us) == starts
    assert tuple(taken.trace.rates_bits) == rates
    assert (taken.began_us, taken.trace.length_us, taken.trace.repeats) == (123, 5_000_000, False)


@instantly
async def test_a_trace_takes_the_place_of_a_speed(machine: Machine) -> None:
    """It begins when it is set, `none` goes back, and `show` tells what it offers."""
    async with machine.running(SPEC) as commands:
        (before,) = commands.show("shaper0")
        await commands.set_options("shaper0", **NOTHING | {"trace": TEXT})
        (shown,) = commands.show("shaper0")
        assert shown["options"]["rate_bits"] == TRACE.mean_bits
        told: Any = shown["options"]["trace"]
        assert (told["mode"], told["steps"], told["length_us"]) == ("loop", 3, 3_500_000)
        assert told["rate_bits"] in TRACE.rates_bits
        with pytest.raises(InvalidValue, match="line 2: 'x'"):
            await commands.set_options("shaper0", **NOTHING | {"trace": "once\n0,1mbit\nx,1mbit"})
        with pytest.raises(InvalidValue, match="classic queue follows no trace"):
            await commands.set_options("shaper0", **NOTHING | {"queue": "classic"})
        (warning,) = await commands.set_speed("shaper0", 10**6)
        assert "follows a trace" in warning
        assert commands.show("shaper0")[0]["options"]["trace"] is not None
        await commands.set_options("shaper0", **NOTHING | {"trace": "none"})
        (after,) = commands.show("shaper0")
        assert after["options"] == {**before["options"], "rate_bits": 10**6} | {
            key: after["options"][key] for key in ("burst_bytes", "limit_packets")
        }


@instantly
async def test_a_reload_lets_it_go_on(machine: Machine) -> None:
    """The same lines are the same trace."""
    async with machine.running(SPEC) as commands:
        await commands.set_options("shaper0", **NOTHING | {"trace": TEXT})
        before = machine.supervisor.specs()["shaper0"].options.playback
        assert before is not None
        assert before.began_us
        await commands.apply(parse_config(await commands.save_configuration()).devices)
        assert machine.supervisor.specs()["shaper0"].options.playback == before


def test_the_command_reads_the_file(tmp_path: Path) -> None:
    """The daemon could not: it is another user, elsewhere."""
    path = tmp_path / "lte.trace"
    path.write_text("0,10mbit\n")
    read = settings.read(("trace", str(path), "once", "hz", "100"))
    assert read == {"trace": "once\n0,10mbit\n", "hz": 100}
    assert settings.read(("trace", str(path))) == {"trace": "loop\n0,10mbit\n"}
    assert settings.read(("trace", "none")) == {"trace": "none"}
    path.write_bytes(b"\xff")
    for words, named in (
        (("trace", str(path)), "no text"),
        (("trace", str(tmp_path)), "Is a directory"),
        (("trace", "nosuch"), "nosuch"),
        (("trace", str(path), "twice"), "twice"),
        (("trace", "none", "trace", "none"), "set twice"),
        (("trace",), "no value"),
    ):
        with pytest.raises(InvalidValue, match=named):
            settings.read(words)

"""A seed that was not set is drawn, told and kept: the same traffic can meet the same fate."""

from __future__ import annotations

from dataclasses import replace

from shaper.desired.config import parse_config
from shaper.desired.continuing import drawn
from shaper.line_options import Delay, LineOptions, LossPattern, RandomLoss
from shaper.model import Options, Spec
from tests.unit.instantly import instantly
from tests.unit.machine_rig import SPEC, Machine
from tests.unit.test_commands import NOTHING

LOSSY = Spec("shaper0", options=Options(line=LineOptions(loss=RandomLoss(10_000_000))))


def seed_of(spec: Spec) -> int:
    """Return the seed of a shaper's link."""
    return spec.options.line.seed


def with_line(line: LineOptions) -> Spec:
    """Return a shaper with a link."""
    return replace(LOSSY, options=Options(line=line))


def test_one_is_drawn_where_chance_has_a_part() -> None:
    """And only there; one that was set stays."""
    assert seed_of(drawn(LOSSY, None)) != seed_of(drawn(LOSSY, None))
    assert seed_of(drawn(with_line(LineOptions(Delay(1000))), None)) == 0
    assert seed_of(drawn(with_line(LineOptions(loss=LossPattern(b"\1"))), None)) == 0
    assert seed_of(drawn(with_line(replace(LOSSY.options.line, seed=7)), None)) == 7


def test_the_same_link_has_the_same_seed() -> None:
    """After a reload; another link has another."""
    before = drawn(LOSSY, None)
    assert drawn(LOSSY, before) == before
    other = with_line(LineOptions(loss=RandomLoss(20_000_000)))
    assert seed_of(drawn(other, before)) != seed_of(before)


@instantly
async def test_it_is_shown_and_survives_a_reload(machine: Machine) -> None:
    """As a value that `set` takes."""
    async with machine.running(SPEC) as commands:
        await commands.set_options("shaper0", **NOTHING | {"line": {"loss": "1%"}})
        line = commands.show("shaper0")[0]["options"]["line"]
        assert int(line["seed"]) > 0
        text = "[device.shaper0]\nmaster = 'eth1'\nspeed = 64000\nloss = '1%'\n"
        await commands.apply(parse_config(text).devices)
        assert commands.show("shaper0")[0]["options"]["line"] == line

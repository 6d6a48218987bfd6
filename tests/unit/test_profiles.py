"""A link in one word is that link, wherever it is written."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from bench.lab.namespaces import ROOT
from shapecfg import settings
from shapecfg.run.named_profile import profile_named
from shapecfg.run.words import read_lines
from shaper.desired.config import parse_config
from shaper.desired.line_syntax import parse_percent, parse_time
from shaper.desired.profiles import PROFILES, Profile, find
from shaper.errors import InvalidValue
from shaper.line_options import Delay, GilbertElliott, LineOptions, RandomLoss
from shaper.model import Options
from shaper.units import parse_rate
from tests.unit.instantly import instantly
from tests.unit.machine_rig import SPEC, Machine
from tests.unit.test_commands import NOTHING

MS = 1_000_000
OWN = "[profile.village]\ndown = '2mbit'\nup = 256000\ndelay = '60ms'\nloss = '0.5%'\n"
VILLAGE = Profile(2_000_000, 256_000, LineOptions(Delay(30 * MS), RandomLoss(5_000_000)))


def test_the_table_has_each_with_its_figures_and_sources() -> None:
    """What is documented is what is set."""
    with (ROOT / "docs/profiles.csv").open(encoding="utf-8", newline="") as file:
        listed = list(csv.DictReader(file))
    assert all(row["source"] for row in listed)
    assert {row["profile"]: profile_of(row) for row in listed} == PROFILES


def profile_of(row: dict[str, str]) -> Profile:
    """Return the profile of a row of the table."""
    return Profile(
        parse_rate(row["down"]).rate_bits,
        parse_rate(row["up"]).rate_bits,
        LineOptions(
            Delay(parse_time("delay", row["there and back"]) // 2),
            RandomLoss(loss) if (loss := parse_percent("loss", row["loss"])) else None,
        ),
    )


def test_one_is_found_with_its_direction() -> None:
    """Down if none is given; one's own goes before a known one."""
    assert find("3g", {}) == (PROFILES["3g"], "down")
    assert find("3g up", {"3g": VILLAGE}) == (VILLAGE, "up")
    for text, named in (("9g", "'9g' is unknown"), ("3g left", r"3g \[down\|up\]"), ("", "''")):
        with pytest.raises(InvalidValue, match=named):
            find(text, {})


def test_a_configuration_names_them() -> None:
    """What else is set goes before the profile's."""
    text = f"{OWN}[device.shaper0]\nprofile = 'village up'\nloss = '2%'\n"
    text += "[device.shaper1]\nprofile = 'village'\nspeed = '1mbit'\n"
    config = parse_config(text)
    assert config.profiles == {"village": VILLAGE}
    up, down = (spec.options for spec in config.devices)
    assert up == Options(256_000, line=LineOptions(Delay(30 * MS), RandomLoss(20_000_000)))
    assert down == Options(1_000_000, line=LineOptions(Delay(30 * MS), RandomLoss(5_000_000)))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[profile.x]\ndown = '1mbit'", "profile.x has no up"),
        ("[profile.x]\ndown = '1mbit'\nup = 'fast'", "profile.x: .*'fast'"),
        ("[profile.x]\ndown = '1mbit'\nup = 8\nloss = '200%'", "profile.x: loss 200%"),
        ("[profile.x]\ndown = '1mbit'\nup = 8\ndelay = '-1ms'", "profile.x: delay '-1ms'"),
        ("[profile.x]\ndown = '1mbit'\nup = 8\njitter = '1ms'", "profile.x.jitter is unknown"),
        ("[profile.'a b']\ndown = 8\nup = 8", "profile 'a b' is no name"),
        ("[profile]\nx = 3", "profile.x = 3 is not a table"),
        ("[profile.default]\ndown = 8\nup = 8", "profile 'default' is no name"),
        ("[profile.x]\ndown = 8\nup = 8\nloss = 'pattern 012'", "profile.x: .*'2' is neither"),
        ("[device.shaper0]\nprofile = 'x'", "device.shaper0: profile 'x' is unknown"),
    ],
)
def test_a_bad_one_is_refused_by_name_and_value(text: str, named: str) -> None:
    """The old configuration then stays."""
    with pytest.raises(InvalidValue, match=named):
        parse_config(text)


def test_ones_own_has_jitter_and_bursts() -> None:
    """All that a link has; the delay is there and back, the rest of each direction."""
    text = "[profile.x]\ndown = 8000\nup = 8000\ndelay = '61ms jitter 5ms'\n"
    text += "loss = 'gemodel 1% 25%'\nreorder = '1% gap 5'\n"
    line = LineOptions(Delay(30_500_000, 5 * MS), GilbertElliott(10_000_000, 250_000_000))
    line = replace(line, reorder=10_000_000, reorder_gap=5)
    assert parse_config(text).profiles == {"x": Profile(8000, 8000, line)}


@instantly
async def test_it_is_set_whole(machine: Machine) -> None:
    """Rate and link; a delay that was there is not what a modem has."""
    async with machine.running(SPEC) as commands:
        commands.profiles = {"village": VILLAGE}
        await commands.set_options("shaper0", **NOTHING | {"line": {"duplicate": "1%"}})
        await commands.set_options("shaper0", **NOTHING | {"profile": "village up"})
        options = commands.show("shaper0")[0]["options"]
        assert options["rate_bits"] == 256_000
        seed = options["line"]["seed"]
        assert options["line"] == {"delay": "30ms", "loss": "0.5%", "seed": seed}
        profile = {"profile": "dsl", "line": {"delay": "5ms"}}
        await commands.set_options("shaper0", **NOTHING | profile)
        assert commands.show("shaper0")[0]["options"]["line"] == {"delay": "5ms", "seed": seed}
        await commands.set_options("shaper0", **NOTHING | {"line": {"overhead": "8"}})
        await commands.set_options("shaper0", **NOTHING | {"profile": "default"})
        options = commands.show("shaper0")[0]["options"]
        assert options["rate_bits"] == 1_500_000
        assert options["line"] == {"overhead": "8", "seed": seed}


def test_commands_take_one(tmp_path: Path) -> None:
    """`set` hands the words over, `run` has both directions from it."""
    assert settings.read(("profile", "3g", "up", "hz", "100")) == {"profile": "3g up", "hz": 100}
    path = tmp_path / "shaper.toml"
    path.write_text(OWN)
    assert profile_named("village", path) == VILLAGE
    down, up = read_lines(None, "2%", 1, (10**6, 10**6), VILLAGE.line)
    assert down == LineOptions(Delay(30 * MS), RandomLoss(20_000_000), seed=1)
    assert up == replace(down, seed=2)
    assert profile_named("3g", tmp_path) == PROFILES["3g"]  # a directory is no configuration

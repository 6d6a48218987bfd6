"""Links in one word for `shapecfg run`: those that are known, and those of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from shaper.desired.config import load
from shaper.desired.line_syntax import PERCENT
from shaper.desired.profiles import Profiles, find
from shaper.errors import InvalidValue

# Specified: shaperd(8).
CONFIGURATION = Path("/etc/shaper/shaper.toml")


class Values(NamedTuple):
    """A link as it would be typed."""

    down: str
    up: str
    delay: str
    loss: str


def profile_values(name: str, configuration: Path = CONFIGURATION) -> Values:
    """Return what a profile stands for. Raises InvalidValue, naming those there are."""
    profile, _ = find(name, _configured(configuration))
    return Values(
        down=f"{profile.down_bits}bit",
        up=f"{profile.up_bits}bit",
        delay=f"{profile.delay_ns}ns",
        loss=f"{profile.loss / PERCENT:f}%",
    )


def _configured(path: Path) -> Profiles:
    """Return the profiles of a configuration; none where it cannot be read, which is no fault."""
    try:
        return load(path, must_exist=False).profiles
    except InvalidValue:
        return {}

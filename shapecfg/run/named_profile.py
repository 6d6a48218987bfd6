"""Links in one word for `shapecfg run`: those that are known, and those of the configuration."""

from __future__ import annotations

from pathlib import Path

from shaper.desired.config import load_config
from shaper.desired.profiles import Profile, Profiles, find
from shaper.errors import InvalidValue

# Specified: shaperd(8).
CONFIGURATION = Path("/etc/shaper/shaper.toml")


def profile_named(name: str, configuration: Path = CONFIGURATION) -> Profile:
    """Return a profile. Raises InvalidValue, naming those there are."""
    return find(name, _configured(configuration))[0]


def _configured(path: Path) -> Profiles:
    """Return the profiles of a configuration; none where it cannot be read, which is no fault."""
    try:
        return load_config(path, must_exist=False).profiles
    except InvalidValue:
        return {}

"""The configuration file: what the daemon starts with, and shapers that are always to be.

TOML. Everything is optional; command-line options win over the file, and the file over the state
that earlier commands left:

    hz = 1000
    shapers = 1
    forwarders = 1
    group = "shaper"

    [device.shaper0]
    master = "eth1"
    speed = "64kbit"
    queue = "fq_codel"
    limit = 100
    burst = "16k"
    hz = 1000
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shaper import checks
from shaper.errors import InvalidValue
from shaper.model import DEFAULT_HZ, Options, Spec
from shaper.names import check_name
from shaper.units import parse_rate, parse_size

# Chosen.
MAX_FORWARDERS = 64  # more than the cores a machine would give to shaping
MAX_INITIAL_SHAPERS = 1024

_TOP = {"hz": int, "shapers": int, "forwarders": int, "group": str, "device": dict}
_DEVICE = {
    "master": str,
    "speed": (str, int),
    "queue": str,
    "limit": int,
    "burst": (str, int),
    "hz": int,
}


@dataclass(frozen=True)
class Config:
    """The contents of a configuration file, checked."""

    hz: int = DEFAULT_HZ
    shapers: int = 1
    forwarders: int = 1
    group: str = "shaper"
    devices: tuple[Spec, ...] = ()


def load(path: Path) -> Config:
    """Return the configuration in a file. Raises InvalidValue, naming the file and the fault."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValue(f"cannot read {path}: {error}") from error
    try:
        return parse(text)
    except InvalidValue as error:
        raise InvalidValue(f"{path}: {error}") from error


def parse(text: str) -> Config:
    """Return the configuration in a text. Raises InvalidValue."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidValue(f"is not TOML: {error}") from error
    _check_keys("", document, _TOP)
    hz = checks.check_hz(document.get("hz", DEFAULT_HZ))
    return Config(
        hz=hz,
        shapers=check_shapers(document.get("shapers", 1)),
        forwarders=check_forwarders(document.get("forwarders", 1)),
        group=document.get("group", "shaper"),
        devices=tuple(
            _spec(ifname, device, hz) for ifname, device in document.get("device", {}).items()
        ),
    )


def check_shapers(number: int) -> int:
    """Return how many shapers to start with. Raises InvalidValue out of bounds."""
    return checks.check_within("shapers", number, 0, MAX_INITIAL_SHAPERS, "devices")


def check_forwarders(number: int) -> int:
    """Return how many forwarders to start. Raises InvalidValue out of bounds."""
    return checks.check_within("forwarders", number, 1, MAX_FORWARDERS, "processes")


def _spec(ifname: str, device: Any, hz: int) -> Spec:
    where = f"device.{check_name(ifname)}"
    if not isinstance(device, dict):
        raise InvalidValue(f"{where} is not a table of settings")
    _check_keys(f"{where}.", device, _DEVICE)
    try:
        options = checks.change(
            Options(rate_bits=parse_rate(str(device["speed"])).rate_bits)
            if "speed" in device
            else Options(),
            queue=device.get("queue"),
            limit_packets=device.get("limit"),
            burst_bytes=parse_size(str(device["burst"])) if "burst" in device else None,
            hz=device.get("hz", hz),
        )
    except InvalidValue as error:
        raise InvalidValue(f"{where}: {error}") from error
    master = device.get("master")
    return Spec(ifname, None if master is None else check_name(master), options)


def _check_keys(where: str, table: dict[str, Any], known: dict[str, Any]) -> None:
    for key, value in table.items():
        if key not in known:
            raise InvalidValue(f"{where}{key} is unknown (known are: {', '.join(known)})")
        if not isinstance(value, known[key]) or isinstance(value, bool):
            raise InvalidValue(f"{where}{key} = {value!r} is not of the right kind")

"""The configuration: what the daemon starts with, and shapers that are always to be.

It comes from a file and from the command line, and is checked whole before anything is done.

The file is TOML. Everything is optional; command-line options win over the file, and the file
over the state that earlier commands left:

    hz = 1000
    shapers = 1
    forwarders = 1
    group = "shaper"

    [device.shaper0]
    master = "eth1"
    capture = "route"  # or "egress", "ingress", "cgroup"
    cgroup = "backup.service"  # with capture = "cgroup"
    speed = "64kbit"
    queue = "fq_codel"
    limit = 100
    burst = "16k"
    hz = 1000
    up = true
    addresses = ["10.0.0.1/28"]  # or "master"
    routes = ["10.1.0.0/24", "default table 100"]
    rules = ["fwmark 7 table 100"]
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from shaper.desired import bounds, captures, doubles, line_syntax, lines
from shaper.desired.continuing import going_on
from shaper.desired.declared import parse_table
from shaper.desired.files import read_text
from shaper.desired.named_files import with_content
from shaper.desired.profiles import DOWN, UP, Profile, Profiles, halved
from shaper.desired.routing_tables import table_names
from shaper.errors import InvalidValue, ShaperError
from shaper.line_options import LineOptions
from shaper.model import Options, Spec
from shaper.names import check_master_name, check_name, check_texts
from shaper.units import ParsedRate, parse_rate, parse_size

# Chosen.
MAX_FORWARDERS = 64  # more than the cores a machine would give to shaping
MAX_INITIAL_SHAPERS = 1024
_MAX_NUMBER = 1 << 63  # of any value; TOML 1.0, "Integer"

_TOP = {
    "hz": int,
    "shapers": int,
    "forwarders": int,
    "group": str,
    "profile": dict,
    "device": dict,
}
_PROFILE_LINE = ("delay", "loss", "duplicate", "corrupt", "reorder")
_PROFILE = {"down": (str, int), "up": (str, int), **dict.fromkeys(_PROFILE_LINE, str)}
_DEVICE = {
    "master": str,
    "capture": str,
    "cgroup": str,
    "speed": (str, int),
    "queue": str,
    "limit": int,
    "burst": (str, int),
    "hz": int,
    **dict.fromkeys(line_syntax.KEYS, (str, int)),
    "trace": str,
    "profile": str,
    "up": bool,
    "addresses": (str, list),
    "routes": list,
    "rules": list,
}


@dataclass(frozen=True)
class Config:
    """What is configured, checked.

    Attributes:
        hz: ticks per second of shapers for which none was set; 0: chosen from the rate.
        shapers: how many there are at the start, at least.
        forwarders: how many processes.
        group: whose members may change things.
        profiles: links that `profile` can name beside those that are known.
        devices: shapers that are to be so.
        warnings: what may have been meant otherwise.
        text: as it was read.
    """

    hz: int = 0
    shapers: int = 1
    forwarders: int = 1
    group: str = "shaper"
    profiles: Profiles = field(default_factory=dict)
    devices: tuple[Spec, ...] = ()
    warnings: tuple[str, ...] = ()
    text: str = field(default="", repr=False, compare=False)

    def sentence(self, error: ShaperError) -> str:
        """Return what a refusal says, behind the line that it is about."""
        return lines.sentence(error, self.text, table_names())


@dataclass(frozen=True)
class CommandLine:
    """What the command line says; None: left to the configuration file."""

    socket: Path
    state_directory: Path
    config_path: Path
    must_have_config: bool
    hz: int | None
    shapers: int | None
    forwarders: int | None

    def config(self) -> Config:
        """Return the configuration with the command line's values over it.

        Raises InvalidValue.
        """
        config = load_config(self.config_path, must_exist=self.must_have_config)
        if self.hz is not None:
            config = replace(config, hz=bounds.check_hz(self.hz))
        if self.shapers is not None:
            config = replace(config, shapers=_check_shapers(self.shapers))
        if self.forwarders is not None:
            config = replace(config, forwarders=_check_forwarders(self.forwarders))
        return config


def load_config(path: Path, *, must_exist: bool = True) -> Config:
    """Return the configuration in a file; the defaults for none, unless it must exist.

    Raises InvalidValue, naming the file and the fault.
    """
    try:
        text = read_text(path)
    except FileNotFoundError as error:
        if not must_exist:
            return Config()
        raise InvalidValue(f"cannot read {path}: {error.strerror}") from error
    except OSError as error:
        raise InvalidValue(f"cannot read {path}: {error.strerror}") from error
    except InvalidValue as error:
        raise InvalidValue(f"cannot read {path}: it {error}") from error
    try:
        config = parse_config(text)
    except InvalidValue as error:
        raise InvalidValue(f"{path}: {error}") from error
    return replace(config, warnings=tuple(f"{path}: {each}" for each in config.warnings))


def parse_config(text: str, *, reads_files: bool = True) -> Config:
    """Return the configuration in a text.

    Args:
        text: TOML.
        reads_files: whether it may name files; that of a client may not.

    Raises:
        InvalidValue: naming key and value.
    """
    document = _document(text)
    _check_keys("", document, _TOP)
    hz = bounds.check_hz(document["hz"]) if "hz" in document else 0
    warnings: list[str] = []
    profiles = {
        name: _profile(name, values, reads_files=reads_files)
        for name, values in document.get("profile", {}).items()
    }
    try:
        devices = tuple(
            _spec(ifname, device, _Around(hz, profiles, reads_files), warnings)
            for ifname, device in document.get("device", {}).items()
        )
        captures.refuse_doubles(devices)
        doubles.refuse_doubles(devices)
    except InvalidValue as error:
        raise InvalidValue(lines.sentence(error, text, table_names())) from error
    return Config(
        hz=hz,
        shapers=_check_shapers(document.get("shapers", 1)),
        forwarders=_check_forwarders(document.get("forwarders", 1)),
        group=_check_group(document.get("group", "shaper")),
        profiles=profiles,
        devices=devices,
        warnings=tuple(warnings),
        text=text,
    )


def _document(text: str) -> dict[str, Any]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidValue(f"is not TOML: {bounds.shortened(str(error))}") from error
    except RecursionError as error:
        raise InvalidValue("is nested too deeply") from error
    except ValueError as error:  # of a number, which tomllib leaves to int() or datetime
        raise InvalidValue(f"has a value that cannot be read: {error}") from error
    check_texts(document)
    return document


def initial_specs(config: Config, saved: list[Spec]) -> list[Spec]:
    """Return the shapers to start with: N of them, those saved, and those configured over them."""
    specs = {spec.ifname: spec for spec in _first(0, config.shapers)}
    for spec in (*saved, *config.devices):
        specs[spec.ifname] = going_on(spec, specs.get(spec.ifname))
    return [with_hz(spec, config.hz) for spec in specs.values()]


def further_specs(before: Config, config: Config) -> list[Spec]:
    """Return the shapers to add because there are to be more of the first ones than before."""
    return _first(before.shapers, config.shapers)


def _first(start: int, end: int) -> list[Spec]:
    return [Spec(f"shaper{number}") for number in range(start, end)]


def with_hz(spec: Spec, hz: int) -> Spec:
    """Return a shaper with the daemon's HZ, unless it has one of its own.

    So the daemon's HZ reaches every shaper for which none was set, however it was made.
    """
    options = spec.options
    if options.has_own_hz or options.hz == hz:
        return spec
    return replace(spec, options=replace(options, hz=hz))


def _check_shapers(number: int) -> int:
    return bounds.check_within("shapers", number, 0, MAX_INITIAL_SHAPERS, "devices")


def _check_group(name: str) -> str:
    if not name or not name.isprintable() or ":" in name:
        raise InvalidValue(f"group = {bounds.shown(name)} cannot name a group")
    return name


def _check_forwarders(number: int) -> int:
    return bounds.check_within("forwarders", number, 1, MAX_FORWARDERS, "processes")


def _profile(name: str, values: Any, *, reads_files: bool) -> Profile:
    where = f"profile.{bounds.shortened(name)}"
    if not isinstance(values, dict):
        raise InvalidValue(f"{where} = {bounds.shown(values)} is not a table of settings")
    if name.split() != [name] or name == line_syntax.DEFAULT:
        raise InvalidValue(f"profile {bounds.shown(name)} is no name of a link")
    _check_keys(f"{where}.", values, _PROFILE)
    try:
        down, up = (parse_rate(str(values[key])).rate_bits for key in (DOWN, UP))
        values = with_content(values, reads_files=reads_files)
        line = line_syntax.change_line(
            LineOptions(), {key: values[key] for key in _PROFILE_LINE if key in values}
        )
        return Profile(bounds.check_rate(down), bounds.check_rate(up), halved(line))
    except KeyError as error:
        raise InvalidValue(f"{where} has no {error.args[0]} = RATE") from error
    except InvalidValue as error:
        raise InvalidValue(f"{where}: {error}") from error


class _Around(NamedTuple):
    """What a table of a device depends on."""

    hz: int
    profiles: Profiles
    reads_files: bool


def _spec(ifname: str, device: Any, around: _Around, warnings: list[str]) -> Spec:
    where = f"device.{check_name(ifname)}"
    if not isinstance(device, dict):
        raise InvalidValue(f"{where} = {bounds.shown(device)} is not a table of settings")
    _check_keys(f"{where}.", device, _DEVICE)
    try:
        options, doubts = _options(with_content(device, reads_files=around.reads_files), around)
    except InvalidValue as error:
        raise InvalidValue(f"{where}: {error}") from error
    warnings += [f"{where}: {doubt}" for doubt in doubts if doubt]
    master = device.get("master")
    spec = Spec(
        ifname,
        None if master is None else check_master_name(master),
        options,
        parse_table(where, ifname, device, table_names()),
    )
    try:
        return captures.with_capture(spec, device.get("capture"), device.get("cgroup"))
    except InvalidValue as error:
        raise InvalidValue(f"{where}: {error}") from error


def _options(device: dict[str, Any], around: _Around) -> tuple[Options, list[str | None]]:
    """Return the options of a table, and what there is to warn of."""
    speed = parse_rate(str(device["speed"])) if "speed" in device else ParsedRate(0, None)
    options = bounds.change_options(
        Options(rate_bits=speed.rate_bits),
        queue=device.get("queue"),
        limit_packets=device.get("limit"),
        burst_bytes=parse_size(str(device["burst"])) if "burst" in device else None,
        hz=device.get("hz"),
        line={key: str(device[key]) for key in line_syntax.KEYS if key in device},
        trace=device.get("trace"),
        profile=device.get("profile"),
        profiles=around.profiles,
    )
    if speed.rate_bits:  # it goes before that of a profile
        options = replace(options, rate_bits=speed.rate_bits)
        bounds.check_line(options)
    if not options.has_own_hz:
        options = replace(options, hz=around.hz)
    return options, [speed.warning, bounds.classic_warning(options), *bounds.slips(options)]


def _check_keys(where: str, table: dict[str, Any], known: dict[str, Any]) -> None:
    for key, value in table.items():
        if key not in known:
            raise InvalidValue(_unknown(where, key, known))
        is_misplaced = isinstance(value, bool) and known[key] is not bool
        if not isinstance(value, known[key]) or is_misplaced:
            raise InvalidValue(f"{where}{key} = {bounds.shown(value)} is not of the right kind")
        if isinstance(value, int):
            bounds.check_within(f"{where}{key}", value, -_MAX_NUMBER, _MAX_NUMBER, "")


def _unknown(where: str, key: str, known: dict[str, Any]) -> str:
    name = bounds.shortened(key if key.isprintable() else repr(key))
    if key.lower() in known:
        return f"{where}{name} is unknown (keys are in lower case: {key.lower()})"
    return f"{where}{name} is unknown (known are: {', '.join(known)})"

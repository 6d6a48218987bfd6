"""The configuration file is read whole or refused with a sentence that names the fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from shaper.desired.config import Config, initial_specs, load_config, parse_config
from shaper.errors import InvalidValue
from shaper.model import Options, Queue, Spec
from tests.unit.test_store import SHAPES

FULL = """
hz = 250
shapers = 2
forwarders = 2
group = "netadmin"

[device.shaper0]
master = "eth1"
speed = "64kbit"
queue = "fifo"
limit = 100
burst = "16k"

[device.slow]
speed = 9600
hz = 100
"""


def test_every_key() -> None:
    """Rates and sizes are as on the command line; a device inherits the daemon's HZ."""
    assert parse_config(FULL) == Config(
        hz=250,
        shapers=2,
        forwarders=2,
        group="netadmin",
        devices=(
            Spec("shaper0", "eth1", Options(64_000, 16_384, Queue.FIFO, 100, 250)),
            Spec("slow", None, Options(9600, hz=100, has_own_hz=True)),
        ),
    )


def test_an_empty_file_is_the_defaults() -> None:
    """Everything is optional."""
    assert parse_config("") == Config()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("hz = ", "not TOML"),
        ("hz = 0", "hz 0"),
        ("hz = true", "hz = True"),
        ('hz = "fast"', "hz = 'fast'"),
        ("shapers = -1", "shapers -1"),
        ("forwarders = 0", "forwarders 0"),
        ("colour = 1", "colour is unknown"),
        ("[device.shaper0]\nspeed = '10m'", "10m"),
        ("[device.shaper0]\nspeed = 0", "0"),
        ("[device.shaper0]\nqueue = 'lifo'", "'lifo'"),
        ("[device.shaper0]\nqueue = 'classic'\nlimit = 5", "classic"),
        ("[device.shaper0]\nmaster = 'a/b'", "'a/b'"),
        ("[device.shaper0]\nsped = 1", r"device\.shaper0\.sped"),
        ("[device]\nshaper0 = 1", r"device\.shaper0"),
        ("[device.'0123456789abcdef']\nspeed = 8", "0123456789abcdef"),
        ("HZ = 100", "HZ is unknown .keys are in lower case: hz"),
        ("hz = 100\nhz = 100\n", "at line 2"),
        ("hz = inf", "hz = inf"),
        ("hz = nan", "hz = nan"),
        (f"hz = {'9' * 5000}", "cannot be read"),
        (f"hz = 0x{'f' * 5000}", "hz a number of more than a thousand digits"),
        (f"group = [0x{'f' * 5000}]", "group = a list"),
        (f"hz = 1{'0' * 100}", "hz 10+[.]{3} is out of bounds"),
        ("hz = 1979-13-45", "cannot be read|not TOML"),
        (f"hz = {'[' * 100_000}", "nested too deeply"),
        (f"hz = '{'x' * 5000}'", r"hz = 'x+\.\.\. is not"),
        ("group = ''", "cannot name a group"),
        ('group = "a\\u0000b"', r"group = 'a\\x00b' holds a NUL"),
        ('[device.shaper0]\ntrace = "/etc/x\\u0000"', r"trace = '/etc/x\\x00' holds a NUL"),
        ('[device.shaper0]\nloss = "file \\u0000"', "holds a NUL"),
        ('[device.shaper0]\ncgroup = "/\\u0000"', "holds a NUL"),
        ('[device.shaper0]\nroutes = ["\\u0000"]', "routes = .* holds a NUL"),
        ('[device."shaper\\u0000"]', "holds a NUL"),
        ('[profile."a\\u0000"]', "holds a NUL"),
        ("device = []", "device"),
        ("[[device.shaper0]]", "is not a table"),
        ("[device.shaper0]\nspeed = -1", "-1"),
        ("[device.shaper0]\nburst = -1", "-1"),
        ("[device.shaper0]\nlimit = -1", "limit -1"),
        ("[device.shaper0]\nspeed = 1.5", "speed = 1.5"),
        ("[device.shaper0]\nroutes = [1]", "routes: 1"),
        ("\x00", "not TOML"),
    ],
)
def test_faults_are_named(text: str, fault: str) -> None:
    """Each refusal says which key and which value."""
    with pytest.raises(InvalidValue, match=fault) as refusal:
        parse_config(text)
    assert len(str(refusal.value)) < 300
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("speed = '10mbps'", "device.shaper0: 10mbps is in bytes per second and was understood"),
        ("speed = 9600\nqueue = 'classic'", "device.shaper0: the classic queue counts whole"),
        ("speed = '10'", "device.shaper0: a rate of 10bit is 10 bits a second"),
        ("speed = '1mbit'\nburst = '100mb'", "device.shaper0: a burst of 100Mb is 839 s"),
    ],
)
def test_what_may_have_been_meant_otherwise_is_warned_of(
    tmp_path: Path, text: str, warning: str
) -> None:
    """The same warnings as on the command line, with the file and the device they are about."""
    path = tmp_path / "shaper.toml"
    path.write_text(f"[device.shaper0]\n{text}\n[device.slow]\nspeed = '10mbit'\n")
    (found,) = load_config(path).warnings
    assert found.startswith(f"{path}: {warning}")


def test_the_file_is_named(tmp_path: Path) -> None:
    """A fault, or a file that is not there, is told with its path."""
    path = tmp_path / "shaper.toml"
    with pytest.raises(InvalidValue, match=f"^cannot read {path}: No such file or directory$"):
        load_config(path)
    path.write_bytes(b"\xff")
    with pytest.raises(InvalidValue, match=f"^cannot read {path}: it is not UTF-8 .*line 1"):
        load_config(path)
    path.write_text("hz = 0")
    with pytest.raises(InvalidValue, match=f"{path}: hz 0"):
        load_config(path)


def test_configured_devices_win_over_saved_ones() -> None:
    """At start there are the N shapers, those saved, and over both those configured."""
    saved = [Spec("shaper0", "eth0", Options(8)), Spec("slow", "eth0", Options(9600))]
    config = Config(shapers=2, devices=(Spec("shaper0", "eth1", Options(64_000)),))
    assert initial_specs(config, saved) == [
        Spec("shaper0", "eth1", Options(64_000)),
        Spec("shaper1"),
        Spec("slow", "eth0", Options(9600)),
    ]


def test_the_daemons_hz_reaches_every_shaper_without_its_own() -> None:
    """Of the first N, saved and configured alike; what was set for one stays."""
    own = Options(8, hz=250, has_own_hz=True)
    config = Config(hz=100, shapers=1, devices=(Spec("wan", None, Options(9600)),))
    specs = initial_specs(config, [Spec("saved"), Spec("set", None, own)])
    assert {spec.ifname: spec.options.hz for spec in specs} == {
        "shaper0": 100,
        "saved": 100,
        "set": 250,
        "wan": 100,
    }


@pytest.mark.parametrize("make", SHAPES, ids=lambda make: make.__name__)
def test_any_shape_of_a_file_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Whatever lies there: one sentence that names it, at once."""
    path = tmp_path / "shaper.toml"
    make(path)
    for must_exist in (True, False):
        with pytest.raises(InvalidValue, match=str(path)) as refusal:
            load_config(path, must_exist=must_exist)
        assert len(str(refusal.value)) < 300


def test_the_null_device_is_an_empty_configuration() -> None:
    """`--config /dev/null` asks for the defaults."""
    assert load_config(Path("/dev/null")) == Config()

"""Everything is saved, and restored to the same: shapers, and what ip added for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.topology import MASTER, PEER, Pair
from bench.lab.wait import wait_until
from tests.kernel.steps import SHAPER, exists, shape, show, wait_state

ADDED = (
    f"address add 10.0.0.9/28 dev {SHAPER}",
    f"address add 10.0.0.10/24 dev {SHAPER} noprefixroute",
    f"address add 10.0.0.11 peer 10.0.8.0/24 dev {SHAPER}",
    f"address add fd08::1/64 dev {SHAPER} noprefixroute nodad",
    f"route add 0.0.0.0/0 dev {SHAPER} table 9",
    f"route add 10.7.0.0/16 dev {SHAPER} metric 3",
    f"route add default via 10.0.0.100 dev {SHAPER} onlink table 7 src 10.0.0.1",
    f"route add fd07::/64 dev {SHAPER} table 1007",
    "rule add fwmark 0x7/0xff table 7 priority 99",
    "rule add from 10.2.0.0/24 table 8 priority 98",
)


def saved(daemon: Shaperd) -> str:
    """Return what `save` prints."""
    done = daemon.shapecfg("save")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def restore(daemon: Shaperd, tmp_path: Path, text: str) -> tuple[int, str]:
    """Restore a text from a file; return exit status and what was said."""
    path = tmp_path / "saved.toml"
    path.write_text(text)
    done = daemon.shapecfg("restore", str(path))
    return done.returncode, done.stderr


@pytest.fixture
def shaped(pair: Pair, shaperd: Shaperd) -> Shaperd:
    """A daemon whose shaper an administrator has set up by hand."""
    shape(shaperd, pair)
    shaperd.configure("add", "wan0")
    shaperd.configure("speed", "wan0", "3mbit")
    pair.host.ip(*ADDED)
    return shaperd


def test_save_wipe_restore_save_is_the_same(pair: Pair, shaped: Shaperd, tmp_path: Path) -> None:
    """Addresses, routes of all tables and rules come back; a rule of others is not saved."""
    text = saved(shaped)
    led = destinations(pair)
    for word in ("10.7.0.0/16", "table 7", "fd07::/64", "fwmark 0x7/0xff", "wan0"):
        assert word in text
    assert "lookup 8" not in text
    shaped.configure("del", SHAPER)
    shaped.configure("del", "wan0")
    pair.host.ip("rule del priority 99")
    assert restore(shaped, tmp_path, text) == (0, "")
    wait_state(shaped, "active")
    wait_until(lambda: "fd07::/64" in routes(pair), "the routes to be back")
    assert saved(shaped) == text
    itself = ("main", "fd08::1")  # a route that every IPv6 address of 128 bits brings
    assert destinations(pair) == led | {itself}
    assert show(shaped, "wan0")["options"]["rate_bits"] == 3_000_000


def destinations(pair: Pair) -> set[tuple[str, str]]:
    """Return what is led through the shaper, by table."""
    found = set()
    for family in ("-4", "-6"):
        told = pair.host.run(
            ["ip", "-j", family, "route", "show", "table", "all", "dev", SHAPER]
        ).stdout
        found |= {
            (each.get("table", "main"), each["dst"])
            for each in json.loads(told)
            if each.get("table") != "local" and not each["dst"].startswith("fe80:")
        }
    return found


def routes(pair: Pair) -> str:
    """Return all IPv6 routes of the host."""
    return pair.host.run(["ip", "-6", "route", "show", "table", "all"]).stdout


def test_restore_is_all_or_none(pair: Pair, shaped: Shaperd, tmp_path: Path) -> None:
    """A text with one fault changes nothing, and the fault is named."""
    before = saved(shaped)
    bad = (
        ("this is not TOML", "TOML"),
        (before + "\n[device.shaper9]\nspeed = 7\n", "7"),
        (before + '\n[device.shaper9]\nmaster = "shaper9"\n', "shaper9"),
        (before + '\n[device.shaper9]\nroutes = ["10.0.0.0/8 frob"]\n', "frob"),
        (before + '\n[device.shaper9]\nroutes = ["10.0.0.0/8 via 192.0.2.7"]\n', "192.0.2.7"),
        (before + '\n[device.shaper9]\naddresses = ["127.0.0.1/8"]\n', "that of lo"),
    )
    for text, named in bad:
        status, said = restore(shaped, tmp_path, text)
        assert status == 2
        assert named in said
        assert saved(shaped) == before
        assert not exists(pair.host, "shaper9")


def test_restore_removes_what_is_not_named(pair: Pair, shaped: Shaperd, tmp_path: Path) -> None:
    """The text is the whole of what there should be."""
    text = f'shapers = 0\n[device.shaper5]\nmaster = "{MASTER}"\nspeed = "1mbit"\n'
    assert restore(shaped, tmp_path, text) == (0, "")
    assert not exists(pair.host)
    assert not exists(pair.host, "wan0")
    assert show(shaped, "shaper5")["link"] == MASTER
    assert PEER not in saved(shaped)


def test_a_file_that_cannot_be_read_is_one_sentence(shaped: Shaperd, tmp_path: Path) -> None:
    """Absent, or not text."""
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    for name in ("absent", "binary"):
        done = shaped.shapecfg("restore", str(tmp_path / name))
        assert done.returncode in (1, 2)
        assert done.stderr.count("\n") == 1
        assert name in done.stderr

"""Completion: the right words, quickly, and none rather than a complaint."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shapecfg import completion
from shapecfg.cli import cli
from shapecfg.settings import KEYS
from tests.runner import make_runner
from tests.unit.fake_daemon import FakeDaemon, answer, shaper

TWO = answer(shapers=[shaper(), shaper(ifname="shaper1"), shaper(ifname="uplink")])


def completed(words: str, path: str | Path) -> list[str]:
    """Return what bash is offered for the last of the words, as click prints it."""
    environment = {
        "_SHAPECFG_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
        "SHAPER_SOCKET": str(path),
    }
    done = make_runner().invoke(cli, [], prog_name="shapecfg", env=environment)
    assert done.stderr == ""
    return [line.removeprefix("plain,") for line in done.stdout.split()]


@pytest.mark.parametrize("verb", ["attach", "detach", "speed", "set", "show", "del"])
def test_devices_are_those_of_the_daemon(tmp_path: Path, verb: str) -> None:
    """Where a shaper is meant, the daemon's shapers are offered."""
    with FakeDaemon(tmp_path / "socket", TWO) as daemon:
        assert completed(f"shapecfg {verb} sh", daemon.path) == ["shaper0", "shaper1"]


def test_socket_given_as_an_option_is_asked(tmp_path: Path) -> None:
    """The daemon that would be spoken to is the one that is asked for names."""
    with FakeDaemon(tmp_path / "socket", TWO) as daemon:
        words = f"shapecfg --socket {daemon.path} show up"
        assert completed(words, tmp_path / "absent") == ["uplink"]


def test_without_a_daemon_there_is_nothing_to_offer(tmp_path: Path) -> None:
    """Completion never complains, and never prints a traceback into the command line."""
    assert completed("shapecfg show sh", tmp_path / "absent") == []


def test_silent_daemon_does_not_hold_the_prompt(tmp_path: Path) -> None:
    """A daemon that hangs costs a moment, not the five seconds of a call."""
    assert completion.PROMPT_SECONDS < 0.5
    with FakeDaemon(tmp_path / "socket", b"", is_silent=True) as daemon:
        assert completion.shapers(daemon.path, "sh", timeout_seconds=0.01) == []


def test_masters_are_the_devices_of_the_machine(tmp_path: Path) -> None:
    """Directories are devices; the file of the bonding driver is not."""
    for name in ("eth1", "eth0", "wlan0"):
        (tmp_path / name).mkdir()
    (tmp_path / "bonding_masters").touch()
    assert completion.masters("", directory=str(tmp_path)) == ["eth0", "eth1", "wlan0"]
    assert completion.masters("eth", directory=str(tmp_path)) == ["eth0", "eth1"]
    assert completion.masters("", directory=str(tmp_path / "absent")) == []


def test_names_that_no_command_takes_are_not_offered(tmp_path: Path) -> None:
    """A device may have any bytes for a name; what cannot be printed is left out."""
    for name in (b"eth0", b"e\xff", b"e\x1b[2J"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).mkdir()
    assert completion.masters("", directory=str(tmp_path)) == ["eth0"]
    odd = answer(shapers=[shaper(), shaper(ifname="sh\udcff")])
    with FakeDaemon(tmp_path / "socket", odd) as daemon:
        assert completed("shapecfg show sh", daemon.path) == ["shaper0"]


def test_attach_offers_masters_behind_the_device(tmp_path: Path) -> None:
    """The second name of attach is any device, and every machine has lo."""
    assert completed("shapecfg attach shaper0 lo", tmp_path / "absent") == ["lo"]


@pytest.mark.parametrize(
    ("given", "incomplete", "words"),
    [
        ("", "", list(KEYS)),
        ("", "l", ["limit", "loss"]),
        ("queue", "", ["classic", "fifo", "fq_codel"]),
        ("queue", "f", ["fifo", "fq_codel"]),
        ("limit", "", ["default"]),
        ("hz", "", ["default"]),
        ("delay", "", ["default"]),
        ("trace", "", ["none"]),
        ("profile", "3", ["3g"]),
        ("profile 3g", "u", ["up"]),
        ("queue fifo limit 10", "", list(KEYS[2:])),
    ],
)
def test_settings_are_keys_and_values_in_turn(
    tmp_path: Path, given: str, incomplete: str, words: list[str]
) -> None:
    """Behind the device come keys that are not yet there, and behind a key its values."""
    typed = " ".join(["shapecfg set shaper0", *given.split(), incomplete])
    assert completed(typed, tmp_path / "absent") == words


def test_run_offers_links_that_have_a_name(tmp_path: Path) -> None:
    """A profile need not be looked up."""
    assert completed("shapecfg run --profile 4", tmp_path / "absent") == ["4g"]


def test_doctor_offers_shapers_and_to(tmp_path: Path) -> None:
    """Behind `to` there is an address, which nothing here knows."""
    with FakeDaemon(tmp_path / "socket", TWO) as daemon:
        assert completed("shapecfg doctor ", daemon.path) == ["shaper0", "shaper1", "uplink", "to"]
    assert completed("shapecfg doctor to ", tmp_path / "absent") == []


def test_behind_an_unknown_verb_there_is_nothing_to_offer(tmp_path: Path) -> None:
    """What the command would refuse is not complained of while it is being typed."""
    assert completed("shapecfg list eth", tmp_path / "absent") == []


def test_verbs_are_completed(tmp_path: Path) -> None:
    """The verbs come from the same mechanism."""
    assert completed("shapecfg de", tmp_path / "absent") == ["del", "detach"]

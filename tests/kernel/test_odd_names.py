"""Devices may have any bytes for a name, and the kernel's are no worse than others."""

from __future__ import annotations

import json
import socket
import subprocess

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.namespaces import Namespace
from bench.lab.topology import MASTER, NIC, Pair
from bench.lab.wait import wait_until
from shapecfg.client import Client
from shaper.kernel.solicit import solicit
from shaper.kernel.tap import Tap
from tests.kernel.steps import SHAPER, Tapper, shape, show, wait_state

BRIDGE, ODD_MASTER, ODD_SHAPER = b"b\xff\x1c\x85r", b"e\xff\x1b[2J", b"s\xfe\x1b0"


def ip(namespace: Namespace, *words: bytes | str) -> None:
    """Run `ip` with words that are no text."""
    with namespace.enter():
        subprocess.run(["ip", *words], check=True)


def test_names_that_are_no_text_do_no_harm(pair: Pair, shaperd: Shaperd) -> None:
    """Of a device, of the master and of the shaper: all is shown, changed and kept."""
    ip(pair.host, "link", "add", BRIDGE, "type", "bridge")
    shape(shaperd, pair)
    wait_state(shaperd, "active")
    ip(pair.host, "link", "set", MASTER, "name", ODD_MASTER)
    master = ODD_MASTER.decode(errors="surrogateescape")
    wait_until(lambda: show(shaperd)["link"] == master, "the name to be followed")
    Client(str(shaperd.socket)).set_speed(SHAPER, 2_000_000)
    wait_until(lambda: show(shaperd)["state"] == "active", "it to go on")
    ip(pair.host, "link", "set", SHAPER, "down")
    ip(pair.host, "link", "set", SHAPER, "name", ODD_SHAPER)
    name = ODD_SHAPER.decode(errors="surrogateescape")

    def kept() -> dict[str, int]:
        saved = json.loads((shaperd.state / "state.json").read_text(encoding="ascii"))
        return {each["ifname"]: each["rate_bits"] for each in saved["shapers"]}

    wait_until(lambda: kept() == {name: 2_000_000}, "the state")
    shaperd.stop()
    shaperd.start()
    (odd,) = [each for each in Client(str(shaperd.socket)).show() if each["ifname"] == name]
    assert (odd["link"], odd["options"]["rate_bits"]) == (master, 2_000_000)
    assert "Traceback" not in shaperd.log()
    assert "\x1b" not in shaperd.log()


def test_a_name_that_passes_to_another_device_misleads_no_look_up(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Renamed and replaced while its index is looked up, a TAP is still known by its own."""
    renames = iter([f"link set {SHAPER} name tap7", f"link add {SHAPER} type bridge"])
    look_up = socket.if_nametoindex

    def renamed(name: str) -> int:
        for each in renames:
            subprocess.run(["ip", *each.split()], check=True)
        return look_up(name)

    with pair.host.enter():
        tap = Tap(SHAPER)
        try:
            own = look_up(SHAPER)
            monkeypatch.setattr("socket.if_nametoindex", renamed)
            assert tap.index() == own != look_up(SHAPER)
        finally:
            tap.remove()


def test_a_solicitation_leaves_by_its_index(pair: Pair) -> None:
    """The frame that the peer sees is the one for the device of the index."""
    with pair.host.enter():
        index = socket.if_nametoindex(MASTER)
        with Tapper(pair.peer, NIC) as tapper:
            solicit(index, bytes(6), "fd00::1", "fd00::2")
            wait_until(lambda: any(b"\x86\xdd" in each for each in tapper.frames()), "the frame")
        with pytest.raises(OSError, match="No such device"):
            solicit(9999, bytes(6), "fd00::1", "fd00::2")

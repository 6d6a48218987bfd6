"""Devices may have any bytes for a name, and the kernel's are no worse than others."""

from __future__ import annotations

import json
import subprocess

from bench.lab.daemon import Shaperd
from bench.lab.namespaces import Namespace
from bench.lab.topology import MASTER, Pair
from bench.lab.wait import wait_until
from shapecfg.client import Client
from tests.kernel.steps import SHAPER, shape, show, wait_state

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

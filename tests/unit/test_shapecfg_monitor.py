"""`shapecfg monitor`: a line for each event."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shapecfg.cli import cli
from shapecfg.client import CallError, Client
from shapecfg.monitor import lines
from tests.runner import make_runner
from tests.unit.fake_daemon import FakeDaemon, answer, refusal

EVENT: dict[str, Any] = {
    "serial": 8,
    "time_us": 1_500_000,
    "event": "speed",
    "ifname": "shaper0",
    "link": "eth1",
    "uid": 0,
    "sentence": "uid 0: SetSpeed",
}
DAEMON = {**EVENT, "ifname": None, "link": None, "event": "configured"}


def batch(*events: dict[str, Any], gap: bool = False) -> dict[str, Any]:
    """Return some events as the daemon sends them."""
    return {"events": list(events), "serial": 8, "gap": gap}


def test_an_event_is_a_line(tmp_path: Path) -> None:
    """With time, device, kind and sentence; it ends with the daemon, as an error."""
    with FakeDaemon(tmp_path / "s", answer(**batch(EVENT))) as daemon:
        result = make_runner().invoke(cli, ["--socket", daemon.path, "monitor"])
        assert daemon.requests[0]["more"] is True
    assert ":01.500 shaper0@eth1 speed: uid 0: SetSpeed\n" in result.stdout
    assert "hung up" in result.stderr
    assert result.exit_code == 3


def test_devices_are_chosen_and_gaps_told() -> None:
    """Events of others are left out; those of the whole daemon concern everybody."""
    batches: Any = [batch(gap=True), batch({**EVENT, "ifname": "shaper1"}, EVENT, DAEMON)]
    gap, *rest = map(json.loads, lines(batches, ["shaper0"], is_json=True))
    assert gap["event"] == "gap"
    assert rest == [EVENT, DAEMON]


def test_a_refusal_is_a_sentence(tmp_path: Path) -> None:
    """It has the status of one."""
    bytes_ = refusal("org.shaper.Busy", "too many monitors")
    with (
        FakeDaemon(tmp_path / "s", bytes_) as daemon,
        pytest.raises(CallError, match="too many monitors") as refused,
    ):
        list(Client(daemon.path).monitor())
    assert refused.value.exit_status == 2

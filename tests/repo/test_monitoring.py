"""What monitors are given: metrics that promtool accepts, alert rules and a dashboard."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.lab.namespaces import ROOT
from shapecfg import metrics
from shapecfg.client import Client
from tests.unit.fake_daemon import FakeDaemon
from tests.unit.test_shapecfg_metrics import SHOWN

RULES = ROOT / "docs/alerts.yml"
DASHBOARD = ROOT / "docs/grafana.json"


@pytest.fixture
def text(tmp_path: Path) -> str:
    """Return the metrics of two shapers."""
    with FakeDaemon(tmp_path / "s", SHOWN) as daemon:
        return metrics.text(Client(daemon.path))


def promtool(*arguments: str, given: str = "") -> str:
    """Run promtool; return what it says, and skip where it is not installed."""
    if shutil.which("promtool") is None:
        pytest.skip("no promtool: .ci/run takes it out of Debian's package prometheus")
    done = subprocess.run(
        ["promtool", *arguments], input=given, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_metrics_follow_the_conventions(text: str) -> None:
    """Promtool finds nothing to say about names, units and help."""
    assert promtool("check", "metrics", given=text) == ""


def test_alert_rules_tell_faults_and_nothing_else() -> None:
    """Each is raised by its fault, and none by shapers that are idle, overloaded or not set."""
    assert "SUCCESS" in promtool("check", "rules", str(RULES))
    assert "SUCCESS" in promtool("test", "rules", str(ROOT / "tests/repo/alerts_test.yml"))


@pytest.mark.parametrize("path", [RULES, DASHBOARD], ids=lambda path: path.name)
def test_they_ask_for_metrics_that_there_are(text: str, path: Path) -> None:
    """Every metric that a rule or a panel names is exported."""
    exported = set(re.findall(r"^(shaper_\w+)", text, re.MULTILINE))
    asked = set(re.findall(r"\bshaper_\w+", path.read_text(encoding="utf-8")))
    assert asked
    assert asked <= exported


def test_the_dashboard_is_whole() -> None:
    """Each panel has its number, its place and something to show."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)
    assert all(target["expr"] for panel in panels for target in panel["targets"])

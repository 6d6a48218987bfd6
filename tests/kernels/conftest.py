"""Fixtures: those of tests/kernel, patient with a machine that is emulated."""

from __future__ import annotations

import pytest

from bench.lab import daemon
from tests.kernel.conftest import _laboratory, pair, shaperd

__all__ = ["_laboratory", "pair", "shaperd"]

START_S = 60.0  # chosen: nothing is compiled in advance there, and all is slower


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "START_S", START_S)

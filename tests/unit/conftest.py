"""Fixtures of the unit tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.machine_rig import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine in memory, with a daemon that has not started."""
    return Machine(tmp_path)

"""Runs a click command in this process, the same way under every version of click."""

from __future__ import annotations

import inspect

from click.testing import CliRunner


def make_runner() -> CliRunner:
    """Return a runner that keeps the two outputs apart, for which click before 8.2 is asked."""
    has_choice = "mix_stderr" in inspect.signature(CliRunner).parameters
    return CliRunner(mix_stderr=False) if has_choice else CliRunner()  # type: ignore[call-arg]

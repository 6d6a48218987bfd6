"""What a refusal must look like, whoever refuses."""

from __future__ import annotations

import subprocess


def assert_refused(
    done: subprocess.CompletedProcess[str], status: int, *words: str, program: str = "shapecfg"
) -> None:
    """Hold a program to one sentence on standard error that has these words, and to its status."""
    assert done.stdout == ""
    assert done.stderr.startswith(f"{program}: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert done.returncode == status, done.stderr

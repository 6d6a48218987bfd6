"""A property holds when two attempts obeyed, and not when three undisturbed ones did not."""

from __future__ import annotations

import pytest

from tests.kernel.shaping import MOST_ATTEMPTS, HoldVerdict


def reached(*attempts: str) -> int | None:
    """Return after how many attempts a verdict is reached; None: after all it is not.

    Args:
        attempts: "good", "bad", or "stolen" for a bad one that was disturbed.
    """
    verdict = HoldVerdict()
    for number, each in enumerate(attempts, 1):
        verdict.add([] if each == "good" else ["a fault"], is_disturbed=each == "stolen")
        if verdict.is_reached:
            return number
    return None


@pytest.mark.parametrize(
    ("attempts", "after"),
    [
        (["good"], None),
        (["good", "good"], 2),
        (["bad", "good", "good"], 3),
        (["bad", "bad", "good"], None),
        (["bad", "good", "bad", "bad"], 4),
        (["bad", "bad", "bad"], 3),
        (["stolen", "stolen", "stolen", "stolen", "good"], None),
        (["stolen"] * MOST_ATTEMPTS, MOST_ATTEMPTS),
    ],
)
def test_a_verdict_needs_two_successes_or_three_failures(
    attempts: list[str], after: int | None
) -> None:
    """Attempts in stolen time count only if they succeed, until patience is at its end."""
    assert reached(*attempts) == after


def test_what_failed_is_told() -> None:
    """Each attempt is a line, and says if time was stolen in it."""
    verdict = HoldVerdict()
    verdict.add(["slow", "late"], is_disturbed=False)
    verdict.add(["late"], is_disturbed=True)
    verdict.add([], is_disturbed=False)
    assert str(verdict).splitlines() == [
        "1 attempts succeeded, 2 did not:",
        "  slow, late",
        "  late (in stolen time)",
    ]

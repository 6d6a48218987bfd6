"""How long a forwarder was away is told from what the kernel says, and seldom asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from shaper.forwarder.absence import Absence

MS = 1_000_000
START_NS = 10**12


class SchedstatKernel:
    """What it says of a process, in a file of the form of schedstat."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.delay_ns = 0
        self.delayed(0)

    def delayed(self, delay_ns: int) -> None:
        """Let the process wait for a processor."""
        self.delay_ns += delay_ns
        self.path.write_text(f"5000000 {self.delay_ns} 17\n", encoding="ascii")


@pytest.fixture
def kernel(tmp_path: Path) -> SchedstatKernel:
    """The kernel's file."""
    return SchedstatKernel(tmp_path / "schedstat")


@pytest.fixture
def absence(kernel: SchedstatKernel) -> Iterator[Absence]:
    """What is tested."""
    with closing(Absence(str(kernel.path))) as made:
        yield made


def found(absence: Absence, woke_ns: int, *, slept_ns: int, worked_ns: int = 50_000) -> int:
    """Find frames after some work and a sleep."""
    ended_ns = woke_ns - slept_ns
    return absence.before(began_ns=ended_ns - worked_ns, ended_ns=ended_ns, woke_ns=woke_ns)


def test_a_late_wake_up_is_told_as_the_kernel_has_it(
    kernel: SchedstatKernel, absence: Absence
) -> None:
    """Of a sleep, the part in which the process could have run; never more than the sleep."""
    kernel.delayed(3 * MS)
    assert found(absence, START_NS, slept_ns=20 * MS) == 3 * MS
    assert found(absence, START_NS + 30 * MS, slept_ns=20 * MS) == 0
    kernel.delayed(50 * MS)
    assert found(absence, START_NS + 60 * MS, slept_ns=20 * MS) == 20 * MS


def test_without_a_sleep_the_round_before_is_what_frames_waited_for(
    kernel: SchedstatKernel, absence: Absence
) -> None:
    """Frames that are found at once came while the last ones were sent."""
    kernel.delayed(3 * MS)
    assert found(absence, START_NS, slept_ns=2_000, worked_ns=300_000) == 302_000


def test_a_flood_before_a_pause_is_not_taken_for_a_delay_in_it(
    kernel: SchedstatKernel, absence: Absence
) -> None:
    """Of what was lost while frames came one upon the other, ten milliseconds are forgotten."""
    for step in range(1000):
        kernel.delayed(500_000)
        found(absence, START_NS + step * MS, slept_ns=0, worked_ns=MS)
    assert found(absence, START_NS + 5000 * MS, slept_ns=4000 * MS) <= 10 * MS


def test_short_sleeps_are_not_asked_about_one_by_one(
    kernel: SchedstatKernel, absence: Absence
) -> None:
    """A question costs as much as a dozen frames; of many sleeps, one in 10 ms is asked about."""
    answers = []
    for step in range(1, 1001):
        kernel.delayed(10_000)
        answers.append(found(absence, START_NS + step * 100_000, slept_ns=60_000))
    assert 5 <= sum(answer > 0 for answer in answers) <= 20
    assert max(answers) <= 60_000


def test_a_kernel_without_statistics_leaves_the_time_at_work(tmp_path: Path) -> None:
    """Nothing is told of sleeps then, and nothing fails."""
    with closing(Absence(str(tmp_path / "missing"))) as absence:
        assert found(absence, START_NS, slept_ns=20 * MS) == 0
        assert found(absence, START_NS, slept_ns=0, worked_ns=MS) == MS

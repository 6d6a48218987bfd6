"""A campaign: one kind of fault, repeated until its count is reached or its time is up.

A campaign is a function that is handed a `Trial` and iterates over it:

    @campaign("forwarder kills", count=1000)
    def kill_forwarders(trial: Trial) -> None:
        with laboratory() as lab:
            for _ in trial:
                trial.stalled(lab.kill_forwarder())

The trial ends the iteration. What it was told becomes one row of the table that `make ordeal`
prints. A finding that must never be (`failed`) is kept with its number and ends the campaign.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

# Chosen: enough to see the kind of a fault, and a table that can still be read.
_MOST_FINDINGS = 20


class Failed(Exception):
    """A trial found what must never be; the campaign ends."""


@dataclass
class CampaignRow:
    """What a campaign has added up to, over all its runs.

    Attributes:
        repetitions: how often the fault was made.
        longest_stall_ns: the longest that traffic stood still because of it.
        lost_uncounted: frames that neither arrived nor were counted as dropped; None: not asked.
        leftovers: devices, processes, descriptors and files left behind; None: not asked.
        peak_kib: the most memory that the daemon held, all its processes together.
        growth_percent: by how much memory grew from the first tenth to the last.
        seconds: how long it took.
        findings: sentences, one for each thing that must not be.
    """

    repetitions: int = 0
    longest_stall_ns: int = 0
    lost_uncounted: int | None = None
    leftovers: int | None = None
    peak_kib: int = 0
    growth_percent: float = 0.0
    seconds: float = 0.0
    findings: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it as it is stored between runs."""
        return asdict(self)


class Trial:
    """The repetitions of one run of a campaign.

    Args:
        row: what earlier runs have added up to; this one adds to it.
        count: how many repetitions are still wanted.
        seconds: how long they may take together.
        clock: the time in seconds; a test brings its own.
    """

    def __init__(
        self,
        row: CampaignRow,
        count: int,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.row = row
        self._count = count
        self._seconds = seconds
        self._clock = clock
        self._memory: list[int] = []
        self._repeated = 0

    def __iter__(self) -> Iterator[int]:
        """Yield the numbers of the repetitions; one that was begun and finished is counted."""
        start = self._clock()
        try:
            for number in range(self._count):
                if self._clock() - start >= self._seconds or self._repeated >= self._count:
                    return
                yield number
                self._repeated += 1
                self.row.repetitions += 1
        finally:
            self.row.seconds += self._clock() - start
            self._conclude_memory()

    def repeated(self, more: int) -> None:
        """Count repetitions beyond the one of the iteration, where each makes many at once."""
        self._repeated += more
        self.row.repetitions += more

    def stalled(self, nanoseconds: int) -> None:
        """Note how long traffic stood still."""
        self.row.longest_stall_ns = max(self.row.longest_stall_ns, nanoseconds)

    def lost(self, frames: int) -> None:
        """Add frames that neither arrived nor were counted."""
        self.row.lost_uncounted = (self.row.lost_uncounted or 0) + frames

    def left(self, *things: str) -> None:
        """Add what was left behind."""
        self.row.leftovers = (self.row.leftovers or 0) + len(things)
        for thing in things:
            self._find(f"left behind: {thing}")

    def memory(self, kib: int) -> None:
        """Note how much memory the daemon holds."""
        self._memory.append(kib)
        self.row.peak_kib = max(self.row.peak_kib, kib)

    def failed(self, sentence: str) -> None:
        """Note what must never be. Raises Failed, which ends the campaign."""
        self._find(sentence)
        raise Failed(sentence)

    def _find(self, sentence: str) -> None:
        if len(self.row.findings) < _MOST_FINDINGS:
            self.row.findings.append(f"{self.row.repetitions}: {sentence}")

    def _conclude_memory(self) -> None:
        tenth = len(self._memory) // 10
        if tenth:
            first, last = sum(self._memory[:tenth]), sum(self._memory[-tenth:])
            self.row.growth_percent = 100.0 * (last - first) / first


@dataclass(frozen=True)
class Campaign:
    """A kind of fault, how often a whole run makes it, and how."""

    name: str
    count: int
    run: Callable[[Trial], None]


CAMPAIGNS: dict[str, Campaign] = {}


def campaign(
    name: str, *, count: int
) -> Callable[[Callable[[Trial], None]], Callable[[Trial], None]]:
    """Register a function as a campaign.

    Args:
        name: how it is asked for and printed.
        count: how many repetitions the runs are to add up to.
    """

    def register(run: Callable[[Trial], None]) -> Callable[[Trial], None]:
        if name in CAMPAIGNS:
            raise ValueError(f"two campaigns are called {name!r}")
        CAMPAIGNS[name] = Campaign(name, count, run)
        return run

    return register

"""How long the forwarder was not there for frames that came: off the processor, or at work.

Frames bear no time of arrival. But a forwarder that sleeps is woken by the first of them, and the
kernel says how long it then waited for a processor (run_delay of /proc/self/schedstat, see
Documentation/scheduler/sched-stats.rst). And one that finds frames without having slept was at
work while they came.

Limits. Where the kernel keeps no such statistics only the time at work is known. A process that
is stopped (SIGSTOP) waits for no processor, so a stop is seen only by what waits in its queues.
"""

from __future__ import annotations

import contextlib
import os

_STATISTICS = "/proc/self/schedstat"
_STATISTICS_BYTES = 64  # three numbers

# Chosen. A poll that takes longer than this slept.
_NO_SLEEP_NS = 10_000
# A sleep shorter than this is not asked about, nor a round without one, if the last question is
# recent: asking costs as much as a dozen frames. So much of a sleep may be taken for a delay.
_SHORT_SLEEP_NS = 100_000
_RECENT_NS = 10_000_000


class Absence:
    """Time in which frames could not be read.

    It opens its file at once, since nothing can be opened later.

    Args:
        statistics: what the kernel tells of this process, in the form of schedstat.
    """

    def __init__(self, statistics: str = _STATISTICS) -> None:
        self._descriptor = -1
        with contextlib.suppress(OSError):
            self._descriptor = os.open(statistics, os.O_RDONLY | os.O_CLOEXEC)
        self._delay_ns = self._read_delay()
        self._asked_ns = 0

    def before(self, *, began_ns: int, ended_ns: int, woke_ns: int) -> int:
        """Return for how long frames that were found at `woke_ns` may have waited.

        Args:
            began_ns: when the round before began.
            ended_ns: when it ended, and the forwarder looked for frames.
            woke_ns: when it found them.
        """
        slept_ns = woke_ns - ended_ns
        away_ns = 0
        if slept_ns >= _SHORT_SLEEP_NS or woke_ns - self._asked_ns >= _RECENT_NS:
            delay_ns = self._read_delay()
            away_ns, self._delay_ns = delay_ns - self._delay_ns, delay_ns
            self._asked_ns = woke_ns
        if slept_ns < _NO_SLEEP_NS:
            return woke_ns - began_ns
        return min(away_ns, slept_ns)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _read_delay(self) -> int:
        if self._descriptor < 0:
            return 0
        try:
            return int(os.pread(self._descriptor, _STATISTICS_BYTES, 0).split()[1])
        except (OSError, ValueError, IndexError):
            return 0

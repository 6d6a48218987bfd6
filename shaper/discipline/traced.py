"""A token bucket whose rate follows a trace.

The law, over every window: bytes sent in (t1, t2] <= B + what the trace offers in it. Credit and
debt pass from one step to the next, so steps of a millisecond lose nothing. While the rate is 0
nothing leaves, whatever the balance is. `rate_bits` is the mean of the trace: what was achieved is
told as a part of that.

A tick is a microsecond, as it is of every discipline behind a gate.
"""

from __future__ import annotations

from shaper.discipline.bucket import Bucket
from shaper.model import Settings
from shaper.trace import Playback

_CLOSED = -(1 << 62)  # of a budget, in bytes: not even a sparse flow may owe so much
# Chosen: when a trace that offers nothing any more is looked at again.
_NEVER_TICKS = 3_600_000_000  # an hour


class TracedBucket(Bucket):
    """Tokens for the rates of a trace; see `Bucket`.

    Args:
        settings: mean rate, bucket and clock.
        playback: the trace, and when it began.
        now: the current tick.
        opens_at: see `Bucket`.
    """

    def __init__(
        self, settings: Settings, playback: Playback, *, now: int, opens_at: int | None = None
    ) -> None:
        super().__init__(
            rate_bits=settings.rate_bits,
            ticks_per_second=settings.ticks_per_second,
            unit_bytes=settings.unit_bytes,
            burst_bytes=settings.burst_bytes,
            idle_bytes=settings.idle_bytes,
            reserve_bytes=settings.reserve_bytes,
            now=now,
            opens_at=opens_at,
        )
        self._trace = playback.trace
        self._playback = playback

    @property
    def is_open(self) -> bool:
        """Whether a frame may leave, as of the last `accrue` or `rest`."""
        return self._balance >= 0 and self._flows

    @property
    def budget_bytes(self) -> int:
        """How much may have left before one more frame leaves; negative when closed."""
        return self._balance // self._byte_tokens if self._flows else _CLOSED

    def accrue(self, now: int) -> int:
        """Add the tokens of the ticks since the last call; return `budget_bytes`."""
        super().accrue(now)
        return self.budget_bytes

    @property
    def _flows(self) -> bool:
        return self._trace.rate_at(self._playback.elapsed_us(self._accrued_at)) > 0

    def _earned(self, now: int) -> int:
        """Return the tokens of the ticks since the last `accrue` or `rest`."""
        elapsed_us = self._playback.elapsed_us
        start_us, end_us = elapsed_us(self._accrued_at), elapsed_us(now)
        tokens, until_us = self._trace.offered(start_us, end_us)
        return tokens + (end_us - until_us) * self.rate_bits

    def admit(self, wire_bytes: int, last_bytes: int, now: int, *, has_waited: bool) -> bool:
        """Pay for frames that leave now without having been queued; or return False."""
        if has_waited:
            self.accrue(now)
        self.rest(now)
        if (wire_bytes - last_bytes) * self._byte_tokens > self._balance or not self._flows:
            return False
        self.charge(wire_bytes)
        return True

    def opens_at(self, enough_bytes: int = 0) -> int:
        """Return the first tick in which a frame may leave, or an earlier one if that is far."""
        from_us = self._playback.elapsed_us(self._accrued_at)
        debt = max(0, enough_bytes * self._byte_tokens - self._balance)
        opens_us = self._trace.offers_at(from_us, debt)
        if opens_us is None:
            return self._accrued_at + _NEVER_TICKS
        return max(self._accrued_at, self._playback.began_us + opens_us)


def make_bucket(settings: Settings, *, now: int, opens_at: int | None = None) -> Bucket:
    """Return the bucket that settings ask for: of a rate, or of a trace."""
    if settings.playback is None:
        return Bucket.make(settings, now=now, opens_at=opens_at)
    return TracedBucket(settings, settings.playback, now=now, opens_at=opens_at)

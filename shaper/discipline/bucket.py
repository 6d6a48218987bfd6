"""The token bucket.

The law, over every window: bytes sent in (t1, t2] <= B + R * (t2 - t1), with t1 and t2 in ticks
of the clock, R the rate and B the bucket. A window of real time can touch one tick more than its
length.

How it is kept. The bucket holds a balance. Each tick adds R/HZ bits, each frame takes its wire
length, and a frame may leave while the balance is not negative: the first frame after a pause
leaves at once, and its successors wait until it has been paid for. So a frame is paid for
afterwards, the balance lies between minus one frame and the surplus, and B is their sum:

    B = unit_bytes (the largest frame) + surplus_bytes (credit for late wake-ups)

Sparse flows may owe `reserve_bytes` more (see `gate`), and the surplus is so much less.

Surplus is earned only while frames wait. A timer that fires late finds the credit of the time it
slept through, up to `surplus_bytes`, and catches up. An idle shaper saves `idle_bytes` of it at
most, no more than departures are rounded by anyway: so what follows a pause is no burst.
Credit beyond that is lost for good, and counted where frames waited: that is the whole of the rate
error, apart from the clock's. Frames that wait elsewhere, because the forwarder does not get to
run, are found only when a pause is over; `missed` then counts it after all.

Counting is exact: one token is 1/HZ bit, so that a tick adds R tokens and a byte costs 8 * HZ of
them, both integers. See RFC 2697 for the bucket itself; net/sched/sch_tbf.c keeps the same law
with payment in advance.
"""

from __future__ import annotations

from collections.abc import Callable

from shaper.discipline.ticks import NANOSECONDS
from shaper.model import Settings


class Bucket:
    """Tokens for one rate.

    Args:
        rate_bits: R, bits per second, at least 1.
        ticks_per_second: of the clock that `now` is told in.
        unit_bytes: the largest frame that will be charged, in wire bytes.
        burst_bytes: B; what exceeds `unit_bytes` is credit for late wake-ups.
        now: the current tick.
        idle_bytes: how much of that credit is saved while nothing waits.
        reserve_bytes: how much of it is given up so that B holds though sparse flows may owe so
            much more than the largest frame.
        opens_at: the tick from which on frames may leave, where an earlier rate is still to be
            paid for; None: at once.
    """

    def __init__(
        self,
        *,
        rate_bits: int,
        ticks_per_second: int,
        unit_bytes: int,
        burst_bytes: int,
        now: int,
        idle_bytes: int = 0,
        reserve_bytes: int = 0,
        opens_at: int | None = None,
    ) -> None:
        self.rate_bits = rate_bits
        self.ticks_per_second = ticks_per_second
        self._byte_tokens = 8 * ticks_per_second
        self._surplus = max(0, burst_bytes - unit_bytes - reserve_bytes) * self._byte_tokens
        self._saved = min(idle_bytes * self._byte_tokens, self._surplus)
        self._balance = 0 if opens_at is None else min(0, now - opens_at) * rate_bits
        self._accrued_at = now
        self._lost = 0
        self._idled = 0  # tokens that the last pause cost, in which nothing waited here
        self._missed = 0  # tokens of time off the processor that pauses have not made up for

    @classmethod
    def make(cls, settings: Settings, *, now: int, opens_at: int | None = None) -> Bucket:
        """Return the bucket that settings ask for."""
        return cls(
            rate_bits=settings.rate_bits,
            ticks_per_second=settings.ticks_per_second,
            unit_bytes=settings.unit_bytes,
            burst_bytes=settings.burst_bytes,
            idle_bytes=settings.idle_bytes,
            reserve_bytes=settings.reserve_bytes,
            now=now,
            opens_at=opens_at,
        )

    @property
    def is_open(self) -> bool:
        """Whether a frame may leave, as of the last `accrue` or `rest`."""
        return self._balance >= 0

    @property
    def budget_bytes(self) -> int:
        """How much may have left before one more frame leaves; negative when closed.

        Frames leave, as of the last `accrue` or `rest`, while the bytes of those before them are
        at most this: the same as asking `is_open` and paying with `charge` in turn.
        """
        return self._balance // self._byte_tokens

    @property
    def surplus_bytes(self) -> int:
        """How much credit is kept at most."""
        return self._surplus // self._byte_tokens

    def busy_ns(self, sent_bytes: int) -> int:
        """Return the time the rate was in use: what was sent takes, and what was lost."""
        tokens = sent_bytes * self._byte_tokens + self._lost
        return tokens * NANOSECONDS // (self.rate_bits * self.ticks_per_second)

    def _earned(self, now: int) -> int:
        """Return the tokens of the ticks since the last `accrue` or `rest`."""
        return (now - self._accrued_at) * self.rate_bits

    def accrue(self, now: int) -> int:
        """Add the tokens of the ticks since the last call, in which frames waited.

        Returns `budget_bytes`.
        """
        balance = self._balance
        if now > self._accrued_at:
            balance += self._earned(now)
            self._accrued_at = now
            self._idled = 0
            if balance > self._surplus:
                self._lost += balance - self._surplus
                balance = self._surplus
            self._balance = balance
        return balance // self._byte_tokens

    def rest(self, now: int) -> None:
        """Add the tokens of the ticks since the last call, in which nothing waited."""
        if now > self._accrued_at:
            balance = self._balance + self._earned(now)
            self._idled = max(0, balance - self._saved)
            self._balance = balance - self._idled
            self._accrued_at = now

    def excuse(self, now: int) -> None:
        """Add the tokens of the ticks since the last call, of which none count as lost.

        For time in which frames waited for something else than the rate or the processor.
        """
        lost = self._lost
        self.accrue(now)
        self._lost = lost

    def missed(self, away_ns: int) -> None:
        """Record that the last pause consists of time off the processor, as far as it goes.

        What came in a pause of this queue may have waited elsewhere before it was read. A true
        pause makes up for as much, since what was late has left by then; what adds up beyond the
        surplus is lost, as if the frames had waited here.
        """
        away = min(self._idled, away_ns * self.rate_bits * self.ticks_per_second // NANOSECONDS)
        missed = max(0, self._missed + away - (self._idled - away))
        self._idled = 0
        self._missed = min(missed, self._surplus)
        self._lost += missed - self._missed

    def charge(self, wire_bytes: int) -> None:
        """Pay for a frame that leaves now."""
        self._balance -= wire_bytes * self._byte_tokens

    def admit(self, wire_bytes: int, last_bytes: int, now: int, *, has_waited: bool) -> bool:
        """Pay for frames that leave now without having been queued; or return False.

        Args:
            wire_bytes: of all of them.
            last_bytes: of the last one, which may leave if those before it are paid for.
            now: the current tick.
            has_waited: frames have waited since the last call, and earned credit by that.
        """
        if has_waited:
            self.accrue(now)
        balance = self._balance
        if now > self._accrued_at:  # as `rest` does; a call more is a microsecond after a pause
            balance += (now - self._accrued_at) * self.rate_bits
            self._idled = max(0, balance - self._saved)
            balance = self._balance = balance - self._idled
            self._accrued_at = now
        byte_tokens = self._byte_tokens
        if (wire_bytes - last_bytes) * byte_tokens > balance:
            return False
        self._balance = balance - wire_bytes * byte_tokens
        return True

    def left_late(self, wire_bytes: int, now: int) -> None:
        """Correct for frames that were charged for, but left only at tick `now`.

        The processor may be lost between the reading of the clock and the sending. The time until
        then was earned before those frames were paid for, so it counts only as far as there was
        room for it then: or the bucket would be granted twice at the same moment.
        """
        if now <= self._accrued_at:
            return
        tokens = wire_bytes * self._byte_tokens
        self._balance += tokens
        self.accrue(now)
        self._balance -= tokens

    def opens_at(self, enough_bytes: int = 0) -> int:
        """Return the first tick in which the balance is not less than so many bytes."""
        beyond = self._balance - enough_bytes * self._byte_tokens
        if beyond >= 0:
            return self._accrued_at
        return self._accrued_at - beyond // self.rate_bits

    def successor(
        self, settings: Settings, *, now: int, make: Callable[..., Bucket] | None = None
    ) -> Bucket:
        """Return the bucket that takes over with other settings at tick `now` of their clock.

        Debts move along and credit does not: a change grants no burst. The caller has let
        this bucket accrue up to the moment of the change. `make` is `Bucket.make`, or the like.
        """
        # It may have accrued beyond `now`, for frames that left late in the same round.
        accrued_at = -(-self._accrued_at * settings.ticks_per_second // self.ticks_per_second)
        bucket = (make or Bucket.make)(settings, now=max(now, accrued_at))
        bucket._balance = (
            min(self._balance, 0) * settings.ticks_per_second // self.ticks_per_second
        )
        if settings.rate_bits == self.rate_bits:
            bucket._lost = self._lost * settings.ticks_per_second // self.ticks_per_second
        return bucket

"""Whether a forwarder is stuck.

An order has no deadline of its own; the process as a whole is judged, by looks that the supervisor
takes at it, so time in which the supervisor itself stood still does not count. A forwarder that
neither answers nor changes its pulse is silent. The pulse is the forwarder's to write: one that
beats without an answer, though the process had the processor, proves nothing. A silent one that is
stopped, sleeps or has used the processor without progress is ended; one that waits for the
processor or a disk is given longer.
"""

from __future__ import annotations

from shaper.supervisor import procfs

# Chosen.
_SILENT_LOOKS = 2  # of a process that will not come back by itself
_MUTE_LOOKS = 4  # of one that runs or sleeps, answers no order and moves its pulse all the same
_STARVED_LOOKS = 25  # of one that waits for the processor or a disk: 10 s
_STARTING_LOOKS = 150  # of one that has not begun yet: a minute, on a machine that is overloaded
_SPINNING_SECONDS = 0.5  # of the processor used in silence; the longest flush takes 0.2


class Judge:
    """Tells a forwarder that is stuck from one that is busy, by one look after the other.

    Attributes:
        has_begun: it has answered once.
        is_silent: there was no progress between the last two looks.
    """

    def __init__(self) -> None:
        self.has_begun = False
        self.is_silent = False
        self._silent_looks = 0
        self._mute_looks = 0  # since the last answer, whatever the pulse says
        self._has_progressed = True
        self._pulse: int | None = None
        self._seconds: float | None = None  # of the processor, when the silence began
        self._mute_seconds = 0.0  # the same of the last answer

    def progressed(self) -> None:
        """Note an answer."""
        self._has_progressed = True

    def look(self, pulse: int, usage: procfs.Usage | None, *, is_overdue: bool) -> str | None:
        """Return why a process is to be ended; None: it is not.

        Args:
            pulse: of the process.
            usage: what the kernel tells of it; None: nothing.
            is_overdue: an order that was sent before the last look is unanswered.
        """
        has_answered = self._has_progressed or not is_overdue
        is_moving = has_answered or pulse != self._pulse
        self._mute_looks = 0 if has_answered else self._mute_looks + 1
        if has_answered and usage is not None:
            self._mute_seconds = usage.seconds
        self._pulse, self._has_progressed = pulse, False
        self._silent_looks = 0 if is_moving else self._silent_looks + 1
        self.is_silent = self._silent_looks > 0
        if is_moving or usage is None:
            self._seconds = usage.seconds if usage is not None else None
        if not self.has_begun:
            return self._judge_starting(usage)
        if self._mute_looks >= _STARVED_LOOKS or self._is_mute(usage):
            return "answers nothing"
        if self._silent_looks < _SILENT_LOOKS or usage is None:
            return None
        return self._judge_silent(usage)

    def _is_mute(self, usage: procfs.Usage | None) -> bool:
        """Whether it could have answered: it had the processor, or had nothing else to do."""
        if usage is None or self._mute_looks < _MUTE_LOOKS:
            return False
        return usage.is_asleep or usage.seconds - self._mute_seconds >= _SPINNING_SECONDS

    def _judge_starting(self, usage: procfs.Usage | None) -> str | None:
        if usage is not None and usage.is_stopped and self._silent_looks >= _SILENT_LOOKS:
            return "is stopped"
        return "does not start" if self._mute_looks >= _STARTING_LOOKS else None

    def _judge_silent(self, usage: procfs.Usage) -> str | None:
        if usage.is_stopped:
            return "is stopped"
        if usage.is_asleep:
            return "does not answer"
        if self._seconds is not None and usage.seconds - self._seconds >= _SPINNING_SECONDS:
            return "is stuck in a loop"
        return None

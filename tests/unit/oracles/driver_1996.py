"""The driver of 1996, written once more from its description, in the most literal way.

Each sentence of the description is a line or two here. Nothing is shared with the discipline:
frames are names and lengths, the queue is a list, sums are computed afresh each time.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Driver:
    """One shaper device: `send` is told of arrivals, `timer` of the timer's firing."""

    hz: int
    bits_per_second: int
    recovery: int = 0
    queue: list[dict[str, int]] = field(default_factory=list)
    sent: list[tuple[int, int]] = field(default_factory=list)  # (jiffy, name)
    late: list[int] = field(default_factory=list)  # names of tx_dropped
    collided: list[int] = field(default_factory=list)  # names of collisions
    busy: set[int] = field(default_factory=set)  # jiffies something was on the wire

    def send(self, name: int, length: int, jiffies: int) -> None:
        """Take a frame that arrives at jiffy `jiffies`."""
        bytes_per_tick = int(int(self.bits_per_second / self.hz) / 8)
        if bytes_per_tick == 0:
            bytes_per_tick = 1
        clock = self.recovery
        if jiffies > clock:
            clock = jiffies
        for waiting in self.queue:
            clock = clock + waiting["cost"]
        if clock > jiffies + 5 * self.hz:
            self.late.append(name)
        else:
            cost = int(length / bytes_per_tick)
            self.queue.append({"name": name, "clock": clock, "cost": cost})
        if len(self.queue) == 11:
            self.collided.append(self.queue[0]["name"])
            del self.queue[0]
        self.timer(jiffies)

    def timer(self, jiffies: int) -> None:
        """Look at the queue, because the timer fires or for another reason."""
        while len(self.queue) > 0:
            head = self.queue[0]
            if head["clock"] - jiffies > int(self.hz / 50):
                break
            del self.queue[0]
            self.sent.append((jiffies, head["name"]))
            end = head["clock"] + head["cost"]
            for jiffy in range(head["clock"], end):
                if jiffy >= self.recovery:
                    self.busy.add(jiffy)
            if end > self.recovery:
                self.recovery = end

    @property
    def timer_at(self) -> int | None:
        """The jiffy the timer is armed for."""
        return self.queue[0]["clock"] if self.queue else None

"""The words of an emulated link: what happens to a frame between the bucket and the master.

Probabilities are exact integers, billionths (`PER_BILLION` is certainty), so that what is shown is
what was set, and equality means the same link. Times are nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

PER_BILLION = 1_000_000_000

# Specified: ITU-T I.361 (ATM), IEEE 802.3, clause 61 (64/65-octet encapsulation).
_CELL_BYTES, _CELL_PAYLOAD_BYTES = 53, 48
_PTM_BYTES = 64

_BITS = 8
_NANOSECONDS = 1_000_000_000

# Chosen: what a jitter of four standard deviations and a late wake-up may add to what the rate
# and the delay put under way.
_SPREAD = 4
_SLACK_NS = 50_000_000
_LEAST_LIMIT_BYTES = 1 << 18
MOST_LINE_BYTES = 1 << 30
# Measured: a frame of 60 bytes takes 265, one of 1500 takes 1704.
_SMALL_FRAMES = 3
FRAME_OVERHEAD_BYTES = 205


class Distribution(StrEnum):
    """How jitter is distributed about the delay; `jitter_ns` is its standard deviation.

    For `UNIFORM` it is half of the width, as netem has it.
    """

    UNIFORM = "uniform"
    NORMAL = "normal"
    PARETO = "pareto"
    TABLE = "table"


@dataclass(frozen=True)
class Delay:
    """How long a frame is under way.

    Attributes:
        delay_ns: the mean.
        jitter_ns: the spread; 0: every frame takes `delay_ns`.
        correlation: of a frame's jitter with that of the one before, in billionths.
        table: quantiles in order, in units of `jitter_ns` / 8192, for `TABLE` (see tc-netem(8)).
    """

    delay_ns: int = 0
    jitter_ns: int = 0
    distribution: Distribution = Distribution.NORMAL
    correlation: int = 0
    table: tuple[int, ...] = ()


@dataclass(frozen=True)
class RandomLoss:
    """Each frame is lost with a probability.

    Attributes:
        loss: in billionths.
        correlation: with the fate of the frame before, in billionths.
    """

    loss: int
    correlation: int = 0


@dataclass(frozen=True)
class GilbertElliott:
    """Loss in bursts: a good and a bad state, each with a loss of its own, all in billionths.

    Gilbert, Capacity of a burst-noise channel, 1960; Elliott, Estimates of error rates for codes
    on burst-noise channels, 1963. Named as in tc-netem(8), `loss gemodel p r 1-h 1-k`.

    Attributes:
        to_bad: p, of going from good to bad with a frame.
        to_good: r, of going back.
        bad_loss: 1-h, of losing a frame in the bad state.
        good_loss: 1-k, of losing one in the good state.
    """

    to_bad: int
    to_good: int
    bad_loss: int = PER_BILLION
    good_loss: int = 0


@dataclass(frozen=True)
class LossPattern:
    """Frame by frame, from the beginning again when it ends.

    Attributes:
        lost: a byte for each frame, 1 for one that is lost.
    """

    lost: bytes


Loss = RandomLoss | GilbertElliott | LossPattern


class Cells(StrEnum):
    """What a link cuts frames into."""

    NONE = "noatm"
    ATM = "atm"  # cells of 53 bytes with 48 of payload
    PTM = "ptm"  # a byte more for every 64


@dataclass(frozen=True)
class Cost:
    """What a frame takes on a link that adds to it what the master does not show.

    Attributes:
        overhead: bytes more, or fewer.
        mpu: the least that a frame takes, before it is cut into cells.
        cells: what it is cut into.
        is_of_packet: the overhead is counted from the IP packet on, without the master's header.
    """

    overhead: int = 0
    mpu: int = 0
    cells: Cells = Cells.NONE
    is_of_packet: bool = False

    @property
    def is_none(self) -> bool:
        """Whether a frame takes what the master shows."""
        return not (self.overhead or self.mpu or self.is_of_packet) and self.cells is Cells.NONE

    def behind(self, header_bytes: int) -> Cost:
        """Return the same, counted from frames that have a header of this length."""
        if not self.is_of_packet:
            return self
        return replace(self, overhead=self.overhead - header_bytes, is_of_packet=False)

    def bytes_of(self, wire_bytes: int, packets: int = 1) -> int:
        """Return what so many frames take, of so many bytes together as the master has them."""
        if packets > 1:
            return packets * self.bytes_of(-(-wire_bytes // packets))
        size = max(wire_bytes + self.overhead, self.mpu, 1)
        if self.cells is Cells.ATM:
            return -(-size // _CELL_PAYLOAD_BYTES) * _CELL_BYTES
        return size + -(-size // _PTM_BYTES) if self.cells is Cells.PTM else size


@dataclass(frozen=True)
class LineOptions:
    """A link. The default is none: frames go to the master as they leave the bucket.

    Attributes:
        duplicate: a frame arrives twice, in billionths.
        corrupt: one bit of its payload is wrong, in billionths.
        reorder: a frame overtakes all that are under way, in billionths.
        reorder_gap: only every so manieth frame may.
        seed: the same traffic meets the same fate again.
        cost: what a frame takes of the rate; it concerns the bucket, not what is behind it.
    """

    delay: Delay = field(default_factory=Delay)
    loss: Loss | None = None
    duplicate: int = 0
    corrupt: int = 0
    reorder: int = 0
    reorder_gap: int = 1
    seed: int = 0
    cost: Cost = field(default_factory=Cost)

    @property
    def is_default(self) -> bool:
        """Whether a frame is not changed, delayed or lost."""
        return LineOptions(seed=self.seed, cost=self.cost) == self

    def needed_bytes(self, rate_bits: int) -> int:
        """Return the memory that frames of full size take at a rate: rate times delay, twice."""
        longest_ns = self.delay.delay_ns + _SPREAD * self.delay.jitter_ns + _SLACK_NS
        return 2 * rate_bits * longest_ns // (_BITS * _NANOSECONDS)

    def limit_bytes(self, rate_bits: int) -> int:
        """Return how much memory frames under way may take, the smallest ones' included."""
        small_bytes = _SMALL_FRAMES * self.needed_bytes(rate_bits)
        return min(max(_LEAST_LIMIT_BYTES, small_bytes), MOST_LINE_BYTES)

    @property
    def is_by_frame(self) -> bool:
        """Whether frames differ in their fate, so that offload frames have to be cut."""
        return self.has_chance or self.loss is not None

    @property
    def has_chance(self) -> bool:
        """Whether a frame's fate is drawn, so that a seed tells it; a pattern is not."""
        is_lost_by_chance = self.loss is not None and not isinstance(self.loss, LossPattern)
        return is_lost_by_chance or bool(
            self.delay.jitter_ns or self.duplicate or self.corrupt or self.reorder
        )

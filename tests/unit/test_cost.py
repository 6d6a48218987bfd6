"""What a frame takes on a link of another framing, as written, charged and kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.desired import line_syntax
from shaper.desired.cost_syntax import LINK_COSTS
from shaper.desired.plan import make_settings, offload_bytes
from shaper.discipline.factory import make_discipline
from shaper.errors import InvalidValue
from shaper.line_options import Cells, Cost, LineOptions
from shaper.model import Framing, Options, Queue, Settings
from shaper.packet.frame import Frame

SECOND = 1_000_000
CELL = 53


def line(**values: str) -> LineOptions:
    """Return a link of these keys."""
    return line_syntax.change_line(LineOptions(), values)


@pytest.mark.parametrize(
    ("overhead", "packet_bytes", "taken"),
    [
        ("raw", 1500, 1514),
        ("ethernet", 1500, 1538),  # preamble, header, check sequence and gap
        ("ethernet", 40, 84),
        ("ethernet ether-vlan", 1500, 1542),
        ("docsis", 1500, 1518),
        ("docsis", 40, 64),
        ("pppoe-ptm", 1500, 1530 + 24),
        ("bridged-ptm", 1500, 1522 + 24),
        ("pppoa-vcmux", 40, 2 * CELL),  # 50 bytes
        ("pppoe-llcsnap", 1500, 33 * CELL),  # 1540 bytes
        ("conservative", 1500, 33 * CELL),
        ("24", 1500, 1538),
        ("-14 atm", 48, CELL),
        ("-14 atm", 49, 2 * CELL),
    ],
)
def test_a_frame_takes_what_its_link_adds(overhead: str, packet_bytes: int, taken: int) -> None:
    """On an Ethernet master, whose header a word counts and a number does not."""
    cost = line(overhead=overhead).cost.behind(14)
    assert cost.bytes_of(packet_bytes + 14) == taken


def test_a_bare_master_has_no_header_to_take_off() -> None:
    """The packet is what a word counts from."""
    settings = make_settings(Options(10**6, line=line(overhead="pppoe-ptm")), 1500, Framing.BARE)
    assert settings is not None
    assert settings.line.cost == Cost(30, 0, Cells.PTM)
    assert settings.unit_bytes == 1530 + 24


COSTS = st.builds(
    Cost, st.integers(-14, 200), st.integers(0, 256), st.sampled_from(Cells), st.booleans()
)


@given(COSTS | st.sampled_from(list(LINK_COSTS.values())))
def test_what_is_written_is_read(cost: Cost) -> None:
    """Words where they say it all."""
    options = LineOptions(cost=cost)
    assert line_syntax.change_line(LineOptions(), line_syntax.write_line(options)) == options


def test_words_are_written_again() -> None:
    """As they were set; and default is none."""
    for word, cost in LINK_COSTS.items():
        written = line_syntax.write_line(LineOptions(cost=cost))
        assert written.get("overhead", "raw") == next(
            other for other, same in LINK_COSTS.items() if same == cost
        ), word
    options = line(overhead="docsis", mpu="100")
    assert line_syntax.change_line(LineOptions(), line_syntax.write_line(options)) == options
    assert options.cost.mpu == 100
    assert line_syntax.change_line(options, {"overhead": "default"}) == LineOptions()
    assert line_syntax.change_line(options, {"overhead": "24"}).cost == Cost(24)
    assert options.is_default  # nothing is behind the bucket


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"overhead": "300"}, "overhead 300 is out of bounds"),
        ({"overhead": "-65"}, "overhead -65 is out of bounds"),
        ({"overhead": "carrier-pigeon"}, "'carrier-pigeon' is no number of bytes.*docsis"),
        ({"overhead": "256 ether-vlan"}, "is 260 bytes"),
        ({"overhead": "1.5"}, "'1.5'"),
        ({"mpu": "-1"}, "mpu -1 is out of bounds"),
        ({"mpu": "84 85"}, "mpu 84 85"),
        ({"delay": "1ms jitter 1ms jitter 2ms"}, "jitter is set twice"),
        ({"loss": "1% correlation 1% correlation 2%"}, "correlation is set twice"),
        ({"reorder": "1% gap 2 gap 3"}, "gap is set twice"),
    ],
)
def test_bad_values_are_named(values: dict[str, str], named: str) -> None:
    """With the key they were given for."""
    with pytest.raises(InvalidValue, match=named):
        line(**values)


def test_each_frame_is_charged_for_by_itself() -> None:
    """No offload frames are made, and of one that waits already each segment takes as much."""
    options = Options(10**9, line=line(overhead="ethernet"))
    assert offload_bytes(options, 1500) == 0
    assert Cost(24).bytes_of(3000, 2) == 2 * 1524


@pytest.mark.parametrize("queue", [Queue.FIFO, Queue.FQ_CODEL])
def test_the_rate_is_that_of_the_link(queue: Queue) -> None:
    """Of 64-byte frames in cells of ATM a second carries rate / (2 * 53 * 8)."""
    settings = make_settings(Options(10**6, queue=queue, line=line(overhead="0 atm")), 1500)
    assert settings is not None
    left = frames_in_a_second(settings)
    assert abs(left - 10**6 // (2 * CELL * 8)) <= 2 + settings.burst_bytes // (2 * CELL)
    assert left < 10**6 // (64 * 8) * 0.7


@pytest.mark.parametrize("queue", [Queue.FIFO, Queue.FQ_CODEL])
def test_frames_that_left_late_are_granted_no_credit_twice(queue: Queue) -> None:
    """Neither for what they take on the link: as many follow as if they had left in time."""
    options = Options(10**8, queue=queue, burst_bytes=20_000, line=line(overhead="0 atm"))
    settings = make_settings(options, 1500)
    assert settings is not None
    follow = []
    for late in (0, SECOND):
        discipline = make_discipline(None, None, settings, 0, b"")
        discipline.enqueue_batch([Frame(bytes(74), 64, 1)] * 900, now=SECOND)
        discipline.dequeue_batch(now=SECOND, limit=1)
        assert len(discipline.dequeue_batch(now=2 * SECOND, limit=40)) == 40  # of a full bucket
        discipline.left_late(40 * 64, now=2 * SECOND + late)
        follow.append(len(discipline.dequeue_batch(now=2 * SECOND + late, limit=900)))
    assert 0 < follow[0] == follow[1]


def frames_in_a_second(settings: Settings) -> int:
    """Return how many frames of 64 bytes leave in a second, of many that wait."""
    discipline = make_discipline(None, None, settings, 0, b"")
    assert not discipline.can_admit
    assert not discipline.admit(64, 64, 0, has_waited=False)
    discipline.enqueue_batch([Frame(bytes(74), 64, 1)] * 900, now=0)
    left, now = 0, 0
    while now < SECOND:
        frames = discipline.dequeue_batch(now=now, limit=64)
        left += len(frames)
        discipline.enqueue_batch(frames, now=now)
        deadline = discipline.deadline()
        assert deadline is not None
        now = max(now + 1, deadline)
    return left

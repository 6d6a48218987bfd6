"""A configuration that was written is read as the same shapers, and written the same again."""

from __future__ import annotations

import pytest

from shaper.desired.config import parse_config
from shaper.desired.declared import parse_network
from shaper.desired.document import write_config
from shaper.line_options import Delay, Distribution, GilbertElliott, LineOptions
from shaper.model import Options, Queue, Spec
from shaper.network import Network

NETWORK = parse_network(
    "shaper0",
    is_up=True,
    addresses=["master", "10.0.0.5/28"],
    routes=["default", "inet6 default", "10.1.0.0/24 via 10.0.0.1 table 7 metric 3"],
    rules=["priority 5 from all fwmark 0x7/0xff lookup 7"],
)

LINE = LineOptions(
    Delay(20_000_000, 5_000_000, Distribution.PARETO, 250_000_000),
    GilbertElliott(10_000_000, 250_000_000),
    duplicate=1_000_000,
    corrupt=1,
    reorder=10_000_000,
    reorder_gap=5,
    seed=7,
)


@pytest.mark.parametrize(
    "specs",
    [
        [],
        [Spec("shaper0")],
        [Spec("shaper0", "eth1", Options(64_000)), Spec("wan.1", "eth1.7")],
        [Spec("shaper0", "eth1", Options(8, 3000, Queue.FIFO, 10, 100, has_own_hz=True), NETWORK)],
        [Spec("shaper0", "eth1", Options(8, queue=Queue.CLASSIC))],
        [Spec("shaper0", "eth1", Options(8, line=LINE))],
        [Spec("shaper0", network=Network(is_up=False))],
        [Spec('s"h\\a', 'e"th\\1')],
    ],
)
def test_what_is_written_is_read(specs: list[Spec]) -> None:
    """All of it, names with quotes too; and no other shaper is asked for."""
    text = write_config(specs)
    config = parse_config(text)
    assert list(config.devices) == specs
    assert config.shapers == 0
    assert write_config(config.devices) == text


def test_what_is_not_set_is_left_out() -> None:
    """The text says what somebody asked for."""
    assert write_config([Spec("shaper0", "eth1", Options(64_000))]) == (
        'shapers = 0\n\n[device.shaper0]\nmaster = "eth1"\nspeed = 64000\n'
    )

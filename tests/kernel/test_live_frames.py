"""The short form of the campaign of live frames: `make ordeal CAMPAIGNS='frames fuzzed live'`."""

from __future__ import annotations

import random

from tests.ordeal.live import fuzzed, uncounted

FRAMES = 10_000


def test_every_frame_is_sent_or_counted() -> None:
    """Random frames into a real shaper: the forwarder survives them and loses count of none."""
    with fuzzed(random.Random(1996)) as (daemon, injector):
        pids = daemon.forwarder_pids()
        for _ in range(FRAMES // 500):
            injector.put(500)
        assert injector.accepted > FRAMES // 2
        assert uncounted(daemon, injector.accepted) == 0
        assert daemon.forwarder_pids() == pids
        assert "Traceback" not in daemon.log()

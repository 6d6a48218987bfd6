"""Waiting for a state with a deadline, in place of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from bench.lab.errors import LabError

STEP_S = 0.01  # chosen: short against everything waited for, long against one look

T = TypeVar("T")


def wait_until(look: Callable[[], T], what: str, seconds: float = 5.0) -> T:
    """Call `look` until it answers something true, and return that.

    Raises:
        LabError: `seconds` went by; the message says that `what` did not come about.

    """
    deadline = time.monotonic() + seconds
    while not (answer := look()):
        if time.monotonic() > deadline:
            raise LabError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(STEP_S)
    return answer

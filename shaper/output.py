"""Standard output and error of both commands, where they cannot be written to the end."""

from __future__ import annotations

import contextlib
import os
import sys


def settle_output() -> None:
    """Give up what cannot be written, or the interpreter tries again and fails at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            with contextlib.suppress(OSError, ValueError):
                os.dup2(nowhere, stream.fileno())
            os.close(nowhere)

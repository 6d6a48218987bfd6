"""Start a forwarder: `python -m shaper.forwarder DESCRIPTOR`, the supervisor's doing."""

from __future__ import annotations

import gc
import resource
import signal
import socket
import sys

from shaper.forwarder.loop import Loop
from shaper.forwarder.sandbox import ask_for_the_processor, drop_privileges, sharpen_timers


def main() -> None:
    """Forward frames until the supervisor closes its end of the channel."""
    # The terminal's Ctrl-C goes to the whole group; the supervisor ends us when it is ready to.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end = socket.socket(fileno=int(sys.argv[1]))
    _, most_descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_descriptors, most_descriptors))
    ask_for_the_processor()
    drop_privileges()
    sharpen_timers()
    # Frames hold no cycles, so reference counts free them and a collection would only cost time.
    gc.freeze()
    gc.disable()
    Loop(end).run()


if __name__ == "__main__":
    main()

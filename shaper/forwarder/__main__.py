"""Start a forwarder: `python -m shaper.forwarder DESCRIPTOR [standby]`, the supervisor's doing."""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import sys
from types import TracebackType

from shaper.forwarder import sandbox, title
from shaper.forwarder.loop import Loop
from shaper.forwarder.uring_slots import UringSlots, make_slots


def main() -> None:
    """Forward frames until the supervisor closes its end of the channel."""
    # The terminal's Ctrl-C goes to the whole group; the supervisor ends us when it is ready to.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end = socket.socket(fileno=int(sys.argv[1]))
    os.dup2(0, 1)  # /dev/null: nothing is to be said here
    _, most_descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_descriptors, most_descriptors))
    title.set_name()
    serving = title.serving()
    sandbox.ask_for_the_processor()
    sandbox.sharpen_timers()
    _tell(sandbox.drop_privileges())
    slots = make_slots()  # while memory may still be locked
    sandbox.renounce_resources()
    ring = slots.uring.fileno() if isinstance(slots, UringSlots) else None
    # Frames hold no cycles, so reference counts free them and a collection would only cost time.
    gc.freeze()
    gc.disable()
    status = 0
    try:
        Loop(end, lambda: _tell(sandbox.confine(end.fileno(), ring)), serving, slots).run()
    except BaseException as error:  # Python's own report would open files, which ends the process
        _tell(f"{_place(error.__traceback__)}: {error!r}")
        status = 1
    # Without a word to anything that was imported: it might do what is not allowed any more.
    os._exit(status)


def _tell(sentence: str | None) -> None:
    """Write a line to the daemon's log, if there is something to tell."""
    if sentence:
        os.write(2, f"shaperd: WARNING: forwarder {os.getpid()}: {sentence}\n".encode())


def _place(trace: TracebackType | None) -> str:
    """Return where an exception came from, the innermost call last."""
    places = []
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{os.path.basename(code.co_filename)}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return ", ".join(places)


if __name__ == "__main__":
    main()

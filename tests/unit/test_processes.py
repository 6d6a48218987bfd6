"""Which program has a socket open: one walk for all that are asked about."""

from __future__ import annotations

import os
import socket

from shaper.kernel import processes


def test_the_programs_of_sockets_are_found_in_one_walk() -> None:
    """Each socket of this process is its own; none has one that there is not."""
    pairs = [socket.socketpair() for _ in range(20)]
    try:
        inodes = [os.fstat(end.fileno()).st_ino for pair in pairs for end in pair]
        found = processes.programs_of([*inodes, 1])
        assert set(found) == set(inodes)
        assert all(program.endswith(f"({os.getpid()})") for program in found.values())
    finally:
        for pair in pairs:
            for end in pair:
                end.close()

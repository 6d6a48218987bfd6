"""Hostile clients at the control socket; `make ordeal` lets more of them at it, and for longer."""

from __future__ import annotations

from tests.ordeal.control_clients import attack, besieged


def test_clients_without_rights_keep_nobody_waiting() -> None:
    """Sixty of five kinds, never pausing: answers, memory, descriptors and log as promised."""
    with besieged() as (host, daemon):
        for _ in range(3):  # in a quiet moment once: the clients take the processors, too
            seen = attack(host, daemon, 60, 4.0)
            if not seen.faults():
                break
        assert seen.faults() == []
        assert len(seen.root_s) > 10
        assert seen.dealt_with > 1000
        assert "Traceback" not in daemon.log()

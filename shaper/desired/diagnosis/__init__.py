"""Whether a shaper is in force: pure checks over facts, for `shapecfg doctor`.

    facts      what is known
    states     the shaper as the daemon shows it
    ways       routes and rules: does what should come here come here
    firewall   rules that drop, or that name the master where the shaper is meant
    sending    what slows or loses what the shaper has sent, or is sent past it
    machine    versions, processes, the processor

Each check yields findings. A shaper that can pass nothing is said to be so, and its routes, which
the kernel has taken out of use, are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from shaper.desired.diagnosis import firewall, machine, sending, states, ways
from shaper.desired.diagnosis.facts import Case
from shaper.desired.findings import REVERSE_PATH_RULE, Finding
from shaper.model import State

Check = Callable[[Case], Iterator[Finding]]

ALWAYS: tuple[Check, ...] = (*states.CHECKS, *machine.CHECKS)
WHEN_PASSING: tuple[Check, ...] = (*ways.CHECKS, *firewall.CHECKS, *sending.CHECKS)
_PASSING = (State.ACTIVE, State.STALLED)


def diagnose(case: Case, of_daemon: Iterable[Finding] = ()) -> list[Finding]:
    """Return what is found of one shaper, faults first; nothing where it is in force.

    Args:
        case: the shaper and its surroundings.
        of_daemon: what the daemon itself found of it.
    """
    if case.machine.reverse_path_rules is not None:  # seen anew; the daemon's may be 10 s old
        of_daemon = [each for each in of_daemon if each.id != REVERSE_PATH_RULE]
    checks = ALWAYS
    if case.shown.state in _PASSING:
        checks += WHEN_PASSING
    found = [*of_daemon, *(finding for check in checks for finding in check(case))]
    return sorted(dict.fromkeys(found), key=lambda each: each.severity)

"""The arrows between folders are those of the design, and what is pure stays pure."""

from __future__ import annotations

import ast

import pytest

from tests.repo.sources import imports, is_own, is_standard, is_within, modules, reach

PURE = (
    "shapecfg.run.configuration",
    "shapecfg.run.link_plan",
    "shapecfg.run.relay_plan",
    "shapecfg.run.way_out",
    "shapecfg.run.words",
    "shaper.desired.alarms",
    "shaper.desired.bounds",
    "shaper.desired.cost_syntax",
    "shaper.desired.declared",
    "shaper.desired.diagnosis",
    "shaper.desired.doubles",
    "shaper.desired.findings",
    "shaper.desired.history",
    "shaper.desired.inventory",
    "shaper.desired.ip_route",
    "shaper.desired.ip_rule",
    "shaper.desired.ip_words",
    "shaper.desired.line_files",
    "shaper.desired.line_syntax",
    "shaper.desired.lines",
    "shaper.desired.plan",
    "shaper.desired.profiles",
    "shaper.desired.topology",
    "shaper.desired.trace_syntax",
    "shaper.discipline",
    "shaper.errors",
    "shaper.events",
    "shaper.forwarder.seccomp",
    "shaper.kernel.programs",
    "shaper.kernel.ring_program",
    "shaper.line_options",
    "shaper.model",
    "shaper.names",
    "shaper.network",
    "shaper.packet",
    "shaper.trace",
    "shaper.units",
)
# What reads a clock, talks to the kernel or waits.
IMPURE = {
    "asyncio",
    "ctypes",
    "datetime",
    "fcntl",
    "os",
    "pathlib",
    "select",
    "selectors",
    "signal",
    "socket",
    "subprocess",
    "threading",
    "time",
}

# Package: the project's own modules it may import beside itself, and what else beside the
# standard library. The most specific entry counts. `shaper` alone is the version.
EVERYTHING = {"shaper"}
WORDS = {"shaper.errors", "shaper.model", "shaper.names", "shaper.network", "shaper.units"}
ARROWS: dict[str, tuple[set[str], set[str]]] = {
    "shaper.errors": (set(), set()),
    "shaper.output": (set(), set()),
    "shaper.events": (set(), set()),
    "shaper.model": (
        {"shaper.errors", "shaper.line_options", "shaper.network", "shaper.trace"},
        set(),
    ),
    "shaper.network": (set(), set()),
    "shaper.names": ({"shaper.errors", "shaper.model"}, set()),
    "shaper.units": ({"shaper.errors", "shaper.model"}, set()),
    "shaper.packet": (set(), set()),
    "shaper.channel": ({"shaper.line_options", "shaper.model", "shaper.trace"}, set()),
    "shaper.line_options": (set(), set()),
    "shaper.trace": (set(), set()),
    "shaper.discipline": (
        {"shaper.packet", "shaper.errors", "shaper.line_options", "shaper.model", "shaper.trace"},
        set(),
    ),
    "shaper.forwarder": (
        {
            "shaper.channel",
            "shaper.discipline",
            "shaper.packet",
            "shaper.errors",
            "shaper.model",
        },
        set(),
    ),
    "shaper.kernel": ({"shaper.errors", "shaper.model", "shaper.network"}, {"pyroute2"}),
    "shaper.testing": (
        {
            "shaper.forwarder",
            "shaper.kernel",
            "shaper.packet",
            "shaper.errors",
            "shaper.model",
            "shaper.network",
        },
        set(),
    ),
    "shaper.desired": ({"shaper.line_options", "shaper.trace", *WORDS}, {"tomli_w"}),
    "shaper.supervisor": (
        {
            "shaper",
            "shaper.trace",
            "shaper.channel",
            "shaper.control",
            "shaper.desired",
            "shaper.events",
            "shaper.kernel",
            *WORDS,
        },
        set(),
    ),
    "shaper.control": (
        {
            "shaper",
            "shaper.errors",
            "shaper.events",
            "shaper.model",
            "shaper.names",
            "shaper.units",
        },
        {"asyncvarlink"},
    ),
    "shaper": (EVERYTHING, {"click"}),
    "shapecfg": (
        {"shaper", "shaper.desired", "shaper.output", *WORDS},
        {"click"},
    ),
    "shapecfg.doctor": (
        {"shapecfg", "shaper", "shaper.desired", "shaper.kernel", *WORDS},
        {"click"},
    ),
    "shapecfg.metrics": ({"shapecfg", "shaper.desired", "shaper.model"}, {"prometheus_client"}),
    "shapecfg.run": (
        {"shapecfg", "shaper.desired", "shaper.line_options", "shaper.trace", *WORDS},
        {"click"},
    ),
    "shapecfg.watch": ({"shapecfg", "shaper.units"}, {"rich"}),
}
# shapecfg starts in a blink: a shell's worth of work must not cost a second's worth of imports.
SLOW = ("asyncio", "asyncvarlink", "prometheus_client", "pyroute2", "rich", "scapy")
# Parts of shapecfg that take their time, and are imported when they are asked for.
LATE = ("shapecfg.doctor", "shapecfg.metrics", "shapecfg.run", "shapecfg.watch")
# This room holds the rest together, so nothing may lean on it but the one that starts it all.
TOP = "shaper.supervisor"
MAY_IMPORT_TOP = ("shaper.daemon", TOP)

NAMES = sorted(modules())


def rule(name: str) -> str:
    """Return the most specific entry of ARROWS for a module."""
    return max((package for package in ARROWS if is_within(name, package)), key=len)


def is_allowed(name: str, target: str) -> bool:
    """Whether the design has an arrow from a module to another."""
    package = rule(name)
    own, foreign = ARROWS[package]
    if is_standard(target):
        return True
    if not is_own(target):
        return any(is_within(target, each) for each in foreign)
    if own is EVERYTHING:
        return is_within(target, "shaper")
    # The package `shaper` itself, not all that is inside it.
    return is_within(target, package) or any(
        target == each or (each != "shaper" and is_within(target, each)) for each in own
    )


def is_late(name: str) -> bool:
    """Whether a module is of a part of the command that is imported late."""
    return any(is_within(name, late) for late in LATE)


@pytest.mark.parametrize("name", NAMES)
def test_arrows_follow_the_design(name: str) -> None:
    """A module imports what the table allows its folder, and nothing else."""
    assert [target for target in sorted(imports(name)) if not is_allowed(name, target)] == []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_leans_on_the_supervisor(name: str) -> None:
    """Only the daemon, which starts it all, knows the supervisor."""
    if not any(is_within(name, each) for each in MAY_IMPORT_TOP):
        assert not [target for target in imports(name) if is_within(target, TOP)]


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(PURE)])
def test_pure_modules_reach_nothing_impure(name: str) -> None:
    """Neither a pure module nor any of ours it imports touches a clock, a file or a socket."""
    touched = {
        target: importer
        for target, importer in reach(name).items()
        if target.split(".")[0] in IMPURE
    }
    assert touched == {}


def test_shapecfg_reaches_nothing_slow() -> None:
    """Without live view and doctor, the command leads to no import that would delay its start."""
    for name in NAMES:
        if is_within(name, "shapecfg") and not is_late(name):
            slow = {
                target: importer
                for target, importer in reach(name).items()
                if target.split(".")[0] in SLOW
                and not (is_late(importer) or is_within(importer, "shaper.kernel"))
            }
            assert slow == {}, name
            kernel = [
                importer
                for target, importer in reach(name).items()
                if is_within(target, "shaper.kernel") and is_within(importer, "shapecfg")
            ]
            assert all(map(is_late, kernel)), name


@pytest.mark.parametrize("late", LATE)
def test_what_is_slow_is_imported_when_it_is_asked_for(late: str) -> None:
    """No module of the command names it at its top."""
    for name in NAMES:
        if is_within(name, "shapecfg") and not is_late(name):
            tops = ast.parse(modules()[name].read_text(encoding="utf-8")).body
            named = {getattr(node, "module", None) or "" for node in tops}
            assert not any(is_within(each, late) for each in named), name


def test_forwarder_needs_the_standard_library_only() -> None:
    """All that the forwarder leads to is ours or Python's: it starts fast and holds little."""
    foreign = {
        target
        for target in reach("shaper.forwarder.__main__")
        if not is_own(target) and not is_standard(target)
    }
    assert foreign == set()


def test_every_entry_of_the_tables_has_its_module() -> None:
    """A rule about a module that is gone, or misspelled, would hold nothing."""
    for package in {*PURE, *ARROWS, TOP}:
        assert package in modules()

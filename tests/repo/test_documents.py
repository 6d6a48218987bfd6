"""What the documents say of the code is so: their tables and samples are held to it."""

from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import dataclass, replace
from itertools import product

import click
import pytest

from shapecfg.cli import cli
from shapecfg.settings import KEYS
from shaper.channel.board import DROP_REASONS
from shaper.control.interface import ShaperInterface
from shaper.desired.alarms import Alarm
from shaper.desired.config import Config, parse_config
from shaper.desired.diagnosis.firewall import HOOKS
from shaper.desired.findings import REVERSE_PATH_RULE
from shaper.desired.plan import Plan, make_plan, make_settings, offload_bytes
from shaper.desired.profiles import Profile
from shaper.errors import InvalidValue
from shaper.forwarder.path_states import TRANSITIONS, PathState
from shaper.line_options import Cells, Cost, Delay, LineOptions, RandomLoss
from shaper.model import Capture, Group, Link, Options, Queue, Spec, State
from shaper.trace import Playback, Trace
from shaper.units import format_size, parse_rate
from tests.repo.document_tables import code, fenced, read, rows
from tests.repo.examples import read_blocks
from tests.repo.sources import ROOT, modules
from tests.repo.test_architecture import ARROWS, EVERYTHING, MAY_IMPORT_TOP, PURE, TOP

README = "README.md"
DESIGN = "docs/design.md"
GUIDE = "docs/administration.md"
PROTOCOL = "docs/protocol.md"
INTERFACE = "docs/org.shaper.varlink"
SHAPER_PAGE = "packaging/manual/pages/shaper.7.md"
COMMAND_PAGE = "packaging/manual/pages/shapecfg.8.md"
MTU = 1500

SUMMARY = re.compile(
    r"rate (?P<rate>\S+) burst (?P<burst>\S+) queue (?P<queue>\S+)"
    r" limit (?P<limit>\d+)p hz (?P<hz>\d+)"
)


@dataclass(frozen=True)
class Situation:
    """Everything the state of a shaper depends on."""

    is_attached: bool
    has_speed: bool
    has_master: bool
    is_master_up: bool
    is_up: bool
    is_of_group: bool
    has_group: bool

    @property
    def plan(self) -> Plan:
        """What the code makes of it."""
        own = Link(3, "shaper0", MTU, b"", 1, self.is_up, self.is_up, "UP")
        master = replace(own, ifindex=2, is_up=self.is_master_up, is_running=self.is_master_up)
        options = Options(rate_bits=64_000 if self.has_speed else 0)
        capture = Capture.CGROUP if self.is_of_group else Capture.ROUTE
        spec = Spec("shaper0", "eth1" if self.is_attached else None, options, capture=capture)
        seen = master if self.is_attached and self.has_master else None
        return make_plan(spec, own, seen, Group("/", 1) if self.has_group else None)


SITUATIONS = [Situation(*facts) for facts in product((False, True), repeat=7)]

# The events of docs/design.md: what must be so before, and what each changes.
EVENTS: dict[str, tuple[dict[str, bool], dict[str, bool]]] = {
    "`attach`": ({"is_attached": False, "has_master": True}, {"is_attached": True}),
    "`speed`": ({}, {"has_speed": True}),
    "master is up and gets carrier": ({"has_master": True}, {"is_master_up": True}),
    "master goes down, or loses carrier": ({"has_master": True}, {"is_master_up": False}),
    "master is removed": ({}, {"has_master": False}),
    "a device of the master's name appears": ({}, {"has_master": True}),
    "`ip link set shaper0 up`": ({}, {"is_up": True}),
    "`ip link set shaper0 down`": ({}, {"is_up": False}),
    "the control group is made": ({}, {"has_group": True}),
    "the control group is removed": ({"is_of_group": True}, {"has_group": False}),
    "`detach`": ({}, {"is_attached": False}),
}


def transitions(event: str) -> set[tuple[State, State]]:
    """Return every change of state that an event can bring, found by trying it everywhere."""
    before, change = EVENTS[event]
    tried = {
        (situation.plan.state, replace(situation, **change).plan.state)
        for situation in SITUATIONS
        if all(getattr(situation, fact) == value for fact, value in before.items())
    }
    return {(old, new) for old, new in tried if old is not new}


@pytest.mark.parametrize("page", [SHAPER_PAGE, DESIGN])
def test_states_are_those_of_the_code(page: str) -> None:
    """Both tables have every state, in the order in which the code tries them."""
    assert [code(row[0]) for row in rows(page, "state")] == [[state] for state in State]


def test_protocol_lists_the_states() -> None:
    """A program is told every value that `state` can have."""
    listed = re.search(r"- `state` is one of (.+?)\.", read(PROTOCOL), re.DOTALL)
    assert listed is not None
    assert code(listed[1]) == list(State)


def test_carrier_is_that_of_the_plan() -> None:
    """The design says for each state whether there is carrier, and that is always so in it."""
    stated = {
        (code(row[0])[0], row[2]) for row in rows(DESIGN, "state", "when", "carrier", "frames")
    }
    plans = [situation.plan for situation in SITUATIONS]
    planned = {(plan.state, "yes" if plan.has_carrier else "no") for plan in plans}
    elsewhere = {(State.CONFLICT, "no"), (State.AWAY, "no"), (State.MASTER_UNUSABLE, "no")}
    # Stalled is what a shaper is shown as that is planned to be active: its carrier stays.
    assert stated == planned | elsewhere | {(State.STALLED, "yes")}


def test_transitions_are_those_of_the_code() -> None:
    """Each event leads from and to the states the design lists, and to no others."""
    stated = {
        row[0]: set(product(code(row[1]), code(row[2]))) for row in rows(DESIGN, "event", "from")
    }
    assert stated == {event: transitions(event) for event in EVENTS}


def test_states_of_a_path_are_those_of_the_code() -> None:
    """The design has a row for each state of a path, and each event leads where the code does."""
    assert [code(row[0]) for row in rows(DESIGN, "state of a path")] == [
        [state.value] for state in PathState
    ]
    everywhere = tuple(state.value for state in PathState)
    stated = {
        row[0]: (everywhere if row[1] == "any" else tuple(code(row[1])), code(row[2])[0])
        for row in rows(DESIGN, "event of a path")
    }
    assert stated == {
        event.value: (tuple(state.value for state in sources), target.value)
        for event, (sources, target) in TRANSITIONS.items()
    }


def test_every_way_to_lose_a_frame_is_explained() -> None:
    """shaper(7) has a line for each counter of `dropped`, and none for one there is not."""
    explained = [code(row[0])[0] for row in rows(SHAPER_PAGE, "reason")]
    assert sorted(explained) == sorted([*DROP_REASONS, "ring"])


def test_arrows_are_those_that_are_held() -> None:
    """The design's table says what the test of the architecture allows, no more and no less."""
    stated = {}
    for part, _, own, foreign in rows(DESIGN, "part", "decides, moves or asks"):
        packages = {
            name if name in ("shaper", "shapecfg") else f"shaper.{name}" for name in code(own)
        }
        allowed = EVERYTHING if own.startswith("everything") else packages
        for name in code(part):
            stated[name.replace("/", ".")] = (allowed, set(code(foreign)))
    held = {package: rule for package, rule in ARROWS.items() if package in modules()}
    assert stated == held
    assert {part for part, rule in stated.items() if rule[0] is EVERYTHING} == {
        part for part, rule in held.items() if rule[0] is EVERYTHING
    }


def test_pure_modules_are_those_that_are_held() -> None:
    """The design names as pure what is held to be, and who may know the supervisor."""
    text = " ".join(read(DESIGN).split())
    pure = re.search(r"((?:`[\w.]+`(?:, | and )?)+) are pure", text)
    top = re.search(r"Only ((?:`\w+`(?:, | and )?)+) knows? the `supervisor`", text)
    assert pure is not None
    assert top is not None
    own = {name if name.startswith("shapecfg.") else f"shaper.{name}" for name in code(pure[1])}
    assert own == set(PURE)
    assert {f"shaper.{name}" for name in code(top[1])} == {*MAY_IMPORT_TOP} - {TOP}


def test_the_interface_is_the_one_that_is_served() -> None:
    """The file is what introspection answers, but for blanks at the end of lines."""
    served = ShaperInterface.render_interface_description().strip().splitlines()
    assert read(INTERFACE).splitlines() == [line.rstrip() for line in served]


def known_keys(place: str) -> set[str]:
    """Return the keys that may stand there, as the refusal of another one lists them."""
    with pytest.raises(InvalidValue) as refused:
        parse_config(f"{place}unheard = 1")
    known = re.search(r"known are: (.+?)\)", str(refused.value))
    assert known is not None
    return set(known[1].split(", "))


@pytest.mark.parametrize("page", ["README.md", GUIDE])
def test_every_configuration_shown_is_good(page: str) -> None:
    """Each is accepted as it stands, without a warning."""
    blocks = re.findall(r"```toml\n(.*?)```", read(page), re.DOTALL)
    assert page != GUIDE or blocks
    for block in blocks:
        assert parse_config(block).warnings == ()


def test_the_sample_configuration_is_good_and_whole() -> None:
    """The file in the guide is accepted and has every key that is known."""
    sample = fenced(GUIDE, "toml", "# /etc/shaper/shaper.toml")
    device, other = parse_config(sample).devices
    options = Options(64_000, 16 * 1024, Queue.FIFO, 100, hz=1000, has_own_hz=True)
    assert device == Spec("shaper0", "eth1", options, device.network)
    line = LineOptions(
        Delay(20_000_000, 5_000_000),
        RandomLoss(10_000_000),
        duplicate=1_000_000,
        corrupt=1_000_000,
        reorder=10_000_000,
        reorder_gap=5,
        seed=7,
        cost=Cost(30, 64, Cells.PTM, is_of_packet=True),
    )
    trace = Trace((0, 5_000_000), (10_000_000, 2_000_000), 10_000_000)
    taken = Spec(
        "shaper1",
        "eth1",
        Options(10_000_000, hz=1000, line=line, playback=Playback(trace)),
        capture=Capture.CGROUP,
    )
    assert other == replace(taken, cgroup="backup.service")
    assert device.network.follows_master
    assert (len(device.network.routes), len(device.network.rules)) == (2, 1)
    line = LineOptions(Delay(30_000_000), RandomLoss(5_000_000))
    profiles = {"village": Profile(2_000_000, 256_000, line)}
    assert replace(parse_config(sample), devices=()) == Config(hz=1000, profiles=profiles)
    document = tomllib.loads(sample)
    assert set(document) == known_keys("")
    given = {key for each in document["device"].values() for key in each}
    assert given == known_keys("[device.shaper0]\n")


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_commands_are_in_the_guide(name: str) -> None:
    """Every verb of shapecfg is used in an example of the guide that is run."""
    commands = [
        command.split()
        for block in read_blocks(ROOT / GUIDE, GUIDE)
        if block.lab
        for command in block.commands()
    ]
    verbs = [
        next((word for word in command[1:] if not word.startswith("-")), None)
        for command in commands
        if command[0] == "shapecfg"
    ]
    assert name in verbs


@pytest.mark.parametrize("option", [each for each in cli.params if isinstance(each, click.Option)])
def test_options_of_the_command_are_in_the_guide(option: click.Option) -> None:
    """Every option of shapecfg that is not of all commands, and its variable, is mentioned."""
    text = read(GUIDE)
    if "--version" not in option.opts:
        assert re.search(rf"(?:shapecfg (?:-\w+ )*|`){option.opts[0]}\b", text)
    if option.envvar:
        assert f"${option.envvar}" in text


def test_settings_are_in_the_guide() -> None:
    """The table of settings has what `set` takes, as its own help lists it, and every queue."""
    help_text = cli.commands["set"].help or ""
    _, _, listed = help_text.partition("\b\n")
    found = rows(GUIDE, "setting")
    settings = [setting for row in found for setting in code(row[0])]
    listed_keys = [line.split()[0] for line in listed.splitlines() if re.match(r"\w+ {2}", line)]
    assert settings == listed_keys == list(KEYS)
    assert set(code(found[0][1])) == set(Queue)


@pytest.mark.parametrize(
    "sample", [match for page in (README, GUIDE) for match in SUMMARY.finditer(read(page))]
)
def test_samples_of_show_have_the_defaults_of_today(sample: re.Match[str]) -> None:
    """A printed summary has the burst and the limit that its rate and HZ lead to."""
    options = Options(
        parse_rate(sample["rate"]).rate_bits, queue=Queue(sample["queue"]), hz=int(sample["hz"])
    )
    settings = make_settings(options, MTU)
    assert settings is not None
    assert sample["burst"] == format_size(settings.burst_bytes)
    assert int(sample["limit"]) == settings.limit_packets


def test_sizes_are_those_that_are_planned() -> None:
    """The design's table of buckets, credit, limits and offload frames is what is computed."""
    table = rows(DESIGN, "rate", "largest frame", "B")
    assert len(table) == 7
    for rate, *stated in table:
        number, unit = rate.removesuffix("/s").split()
        options = Options(parse_rate(f"{number}{unit.lower()}").rate_bits)
        settings = make_settings(options, MTU)
        assert settings is not None
        offload = offload_bytes(options, MTU)
        assert stated == [
            f"{settings.unit_bytes} B",
            f"{settings.burst_bytes} B",
            f"{settings.idle_bytes} B",
            str(settings.limit_packets),
            f"{offload} B" if offload else "none",
        ]


def test_offload_begins_where_the_design_says() -> None:
    """At the rate named there are offload frames, and a hundredth of a megabit below it none."""
    stated = re.search(r"begins at ([\d.]+) Mbit/s", read(DESIGN))
    assert stated is not None
    rate_bits = parse_rate(f"{stated[1]}mbit").rate_bits
    assert offload_bytes(Options(rate_bits), MTU) > 0
    assert offload_bytes(Options(rate_bits - 10_000), MTU) == 0


def found_ids(module: str) -> set[str]:
    """Return the ids of the findings that a module makes; an f-string ends at its blank."""
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {
        ast.literal_eval(call.args[0])
        for call in calls
        if ast.unparse(call.func) == "Finding" and isinstance(call.args[0], ast.Constant)
    }


def test_findings_are_in_the_manual() -> None:
    """The table of what doctor finds has every id, and no other."""
    made = {each for name in modules() for each in found_ids(name)} | {REVERSE_PATH_RULE}
    made |= {f"alarm-{alarm}" for alarm in Alarm} - {"alarm-stalled"}  # that is a state
    made |= {f"firewall-{hook}" for hook in HOOKS}
    made |= {str(state) for state in State} - {"active"}
    explained = [each for row in rows(COMMAND_PAGE, "finding", "meaning") for each in code(row[0])]
    assert sorted(explained) == sorted(made)

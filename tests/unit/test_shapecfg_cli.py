"""The command: every verb, every option, every exit status, and who hears what."""

from __future__ import annotations

import json
import re
import signal
import threading
from pathlib import Path

import pytest
from click.testing import Result

from shapecfg.cli import cli
from shaper import __version__
from tests.runner import make_runner
from tests.unit.fake_daemon import SHAPER, FakeDaemon, answer, refusal, shaper

LINE = "shaper0@eth1: <UP> rate 64Kbit burst 1514b queue fifo limit 10p hz 1000 state active\n"
DONE = answer(warnings=[])


def run(path: str | Path, *arguments: str) -> Result:
    """Run the command against a socket."""
    environment = {"SHAPER_SOCKET": str(path)}
    return make_runner().invoke(cli, list(arguments), prog_name="shapecfg", env=environment)


@pytest.mark.parametrize(
    ("arguments", "method", "parameters"),
    [
        ("attach shaper0 eth1", "Attach", {"ifname": "shaper0", "master": "eth1"}),
        ("speed shaper0 64000", "SetSpeed", {"ifname": "shaper0", "rate_bits": 64000}),
        ("speed shaper0 1.5mbit", "SetSpeed", {"ifname": "shaper0", "rate_bits": 1_500_000}),
        ("detach shaper0", "Detach", {"ifname": "shaper0"}),
        ("del shaper0", "Delete", {"ifname": "shaper0"}),
        ("set shaper0 queue classic", "SetOptions", {"ifname": "shaper0", "queue": "classic"}),
        ("set shaper0 limit 20p", "SetOptions", {"ifname": "shaper0", "limit_packets": 20}),
        ("set shaper0 limit default", "SetOptions", {"ifname": "shaper0", "limit_packets": 0}),
        ("set shaper0 burst 10kb", "SetOptions", {"ifname": "shaper0", "burst_bytes": 10240}),
        ("set shaper0 hz default", "SetOptions", {"ifname": "shaper0", "hz": 0}),
        ("set shaper0 burst default", "SetOptions", {"ifname": "shaper0", "burst_bytes": 0}),
        (
            "set shaper0 hz 100 queue fifo burst 1514 limit 5",
            "SetOptions",
            {
                "ifname": "shaper0",
                "hz": 100,
                "queue": "fifo",
                "burst_bytes": 1514,
                "limit_packets": 5,
            },
        ),
        ("-s -d -j -p -br detach shaper0", "Detach", {"ifname": "shaper0"}),
    ],
)
def test_verb_makes_one_call_and_says_nothing(
    tmp_path: Path, arguments: str, method: str, parameters: dict[str, object]
) -> None:
    """On success nothing is printed, and the daemon was asked exactly what was typed."""
    with FakeDaemon(tmp_path / "socket", DONE) as daemon:
        done = run(daemon.path, *arguments.split())
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    assert daemon.requests == [{"method": f"org.shaper.{method}", "parameters": parameters}]


def test_add_prints_a_name_only_if_none_was_given(tmp_path: Path) -> None:
    """A name the daemon chose has to be told; one that was typed is known."""
    with FakeDaemon(tmp_path / "socket", answer(ifname="shaper3", warnings=[])) as daemon:
        assert run(daemon.path, "add").stdout == "shaper3\n"
        assert run(daemon.path, "add", "shaper3").stdout == ""
    assert [request["parameters"] for request in daemon.requests] == [{}, {"ifname": "shaper3"}]


@pytest.mark.parametrize("arguments", [[], ["show"], ["show", "shaper0"]])
def test_show_prints_every_shaper_and_so_does_no_command(
    tmp_path: Path, arguments: list[str]
) -> None:
    """Alone the command is `show`, and a device narrows it down."""
    with FakeDaemon(tmp_path / "socket", answer(shapers=[SHAPER, SHAPER])) as daemon:
        done = run(daemon.path, *arguments)
    assert (done.exit_code, done.stdout, done.stderr) == (0, LINE * 2, "")
    wanted = {"ifname": "shaper0"} if len(arguments) > 1 else {}
    assert daemon.requests == [{"method": "org.shaper.Show", "parameters": wanted}]


def test_show_options_choose_the_lines(tmp_path: Path) -> None:
    """-s adds counters, -d detail, -br is short."""
    with FakeDaemon(tmp_path / "socket", answer(shapers=[SHAPER])) as daemon:
        counters = run(daemon.path, "-s").stdout
        detail = run(daemon.path, "-d", "show").stdout
        brief = run(daemon.path, "-br", "show", "shaper0").stdout
    assert counters.startswith(LINE)
    assert "    sent 123456 bytes 98 pkts" in counters
    assert "    ifindex 7 mtu 1500\n" in detail
    assert brief == "shaper0@eth1         active         64Kbit\n"


def test_show_prints_json_for_one_and_for_all(tmp_path: Path) -> None:
    """-j is always an array; -p indents it."""
    with FakeDaemon(tmp_path / "socket", answer(shapers=[SHAPER])) as daemon:
        compact = run(daemon.path, "-j", "show", "shaper0").stdout
        pretty = run(daemon.path, "-j", "-p").stdout
    assert json.loads(compact) == json.loads(pretty) == [SHAPER]
    assert (compact.count("\n"), pretty.count("\n") > 20) == (1, True)


def test_show_of_no_shaper_is_empty(tmp_path: Path) -> None:
    """No shaper: no line, but an array to a program."""
    with FakeDaemon(tmp_path / "socket", answer(shapers=[])) as daemon:
        assert run(daemon.path).stdout == ""
        assert run(daemon.path, "-j").stdout == "[]\n"


def test_speed_alone_prints_the_rate(tmp_path: Path) -> None:
    """As tc prints it, or as a number for a program."""
    with FakeDaemon(tmp_path / "socket", answer(shapers=[SHAPER])) as daemon:
        assert run(daemon.path, "speed", "shaper0").stdout == "64Kbit\n"
        document = json.loads(run(daemon.path, "-j", "speed", "shaper0").stdout)
    assert document == [{"ifname": "shaper0", "rate_bits": 64000}]


def test_speed_of_a_shaper_without_one_is_none(tmp_path: Path) -> None:
    """A shaper starts without a speed, and that is no error."""
    silent = shaper(options={"rate_bits": 0})
    with FakeDaemon(tmp_path / "socket", answer(shapers=[silent])) as daemon:
        done = run(daemon.path, "speed", "shaper0")
    assert (done.exit_code, done.stdout) == (0, "none\n")


@pytest.mark.parametrize(
    "arguments",
    [
        "attach shaper0 eth1",
        "detach shaper0",
        "speed shaper0 64000",
        "set shaper0 hz 100",
        "add shaper0",
        "del shaper0",
    ],
)
def test_warnings_go_to_standard_error(tmp_path: Path, arguments: str) -> None:
    """What the daemon warns of is told, and it was done all the same."""
    warned = answer(ifname="shaper0", warnings=["first", "second"])
    with FakeDaemon(tmp_path / "socket", warned) as daemon:
        done = run(daemon.path, *arguments.split())
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "shapecfg: warning: first\nshapecfg: warning: second\n"


def test_warnings_of_show_go_to_standard_error(tmp_path: Path) -> None:
    """Text on standard output stays what a script expects; in JSON they are a key."""
    warned = shaper(warnings=["shaper0 has an address but no route"])
    with FakeDaemon(tmp_path / "socket", answer(shapers=[warned])) as daemon:
        text = run(daemon.path)
        document = run(daemon.path, "-j")
    assert text.stdout == LINE
    assert text.stderr == "shapecfg: warning: shaper0 has an address but no route\n"
    assert document.stderr == ""
    assert json.loads(document.stdout)[0]["warnings"] == warned["warnings"]


def test_rate_in_bytes_is_set_with_a_warning(tmp_path: Path) -> None:
    """The bps family is taken, and told in bits."""
    with FakeDaemon(tmp_path / "socket", DONE) as daemon:
        done = run(daemon.path, "speed", "shaper0", "10mbps")
    assert done.exit_code == 0
    assert done.stderr.startswith("shapecfg: warning: 10mbps is in bytes per second")
    assert daemon.requests[0]["parameters"]["rate_bits"] == 80_000_000


@pytest.mark.parametrize(
    ("error", "exit_code"), [("NoSuchShaper", 1), ("NoSuchMaster", 1), ("Busy", 2)]
)
@pytest.mark.parametrize("arguments", ["show shaper9", "-j show shaper9", "detach shaper9"])
def test_refusal_is_one_sentence_and_a_status(
    tmp_path: Path, error: str, exit_code: int, arguments: str
) -> None:
    """The daemon's sentence on standard error, nothing on standard output, JSON or not."""
    with FakeDaemon(tmp_path / "socket", refusal(f"org.shaper.{error}", "no shaper9")) as daemon:
        done = run(daemon.path, *arguments.split())
    assert (done.exit_code, done.stdout, done.stderr) == (
        exit_code,
        "",
        "shapecfg: no shaper9\n",
    )


@pytest.mark.parametrize("arguments", [[], ["-j", "show"], ["speed", "shaper0", "64000"]])
def test_absent_daemon_is_status_three(tmp_path: Path, arguments: list[str]) -> None:
    """Without a daemon every verb ends in the same way."""
    done = run(tmp_path / "absent", *arguments)
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr.startswith(f"shapecfg: no daemon answers at {tmp_path}/absent (")
    assert done.stderr.count("\n") == 1


def test_socket_option_wins_over_the_environment(tmp_path: Path) -> None:
    """--socket names the daemon whatever $SHAPER_SOCKET says."""
    with FakeDaemon(tmp_path / "socket", answer(shapers=[SHAPER])) as daemon:
        done = run(tmp_path / "absent", "--socket", daemon.path, "show")
    assert done.stdout == LINE


USAGE = "shapecfg [OPTIONS] [COMMAND] [ARGS]..."


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["speed", "shaper0", "-5"], "'-5' is not a rate, a rate cannot be negative: "),
        (["speed", "shaper0", "-inf"], "'-inf' is not a rate, a rate cannot be negative: "),
        (["speed", "shaper0", "0"], "'0' is under the lowest rate: write 8bit or more"),
        (["speed", "shaper0", "nan"], "'nan' is not a rate, it has to be finite: "),
        (["speed", "shaper0", "10m"], "'10m' does not say bits or bytes per second: "),
        (["speed", "shaper0", "10mbits"], "'10mbits' has the unknown suffix 'mbits': write 10"),
        (["speed", "shaper0", "1" + "0" * 30], f"'1{'0' * 30}' is over the highest rate: "),
        (["speed", "shaper0", ""], "'' is not a rate, it has to begin with a decimal number"),
        (["attach", "sixteen-bytes-xx", "eth1"], "'sixteen-bytes-xx' cannot name a network "),
        (["attach", "shaper0", "a/b"], "'a/b' cannot name a network device: '/' is not allowed"),
        (["show", ""], "'' cannot name a network device: it is empty"),
        (["add", ".."], "'..' cannot name a network device: "),
        (["del", "two words"], "'two words' cannot name a network device: "),
        (["set", "shaper0", "colour", "red"], "'colour' is not a setting: write queue, limit, "),
        (
            ["set", "shaper0", "rate", "64kbit"],
            "'rate' is not a setting: write queue, limit, burst, hz, overhead, mpu, delay, "
            "loss, duplicate, corrupt, reorder, seed, trace, profile (the rate has a verb of its ",
        ),
        (["set", "shaper0", "limit"], "'limit' has no value: write limit VALUE"),
        (["set", "shaper0", "limit", "0"], "'0' is not a limit in frames: "),
        (["set", "shaper0", "limit", "-5"], "'-5' is not a limit in frames: "),
        (["set", "shaper0", "burst", "0"], "'0' is not a size from "),
        (["set", "shaper0", "hz", "often"], "'often' is not a hz value: "),
        (["set", "shaper0", "hz", "100", "hz", "50"], "'hz' is set twice: write it once"),
        (["set", "shaper0"], "missing argument 'KEY VALUE [KEY VALUE]...' (usage: shapecfg set "),
        (["speed"], "missing argument 'DEV' (usage: shapecfg speed DEV [RATE])"),
        (["attach", "shaper0"], "missing argument 'MASTER' (usage: shapecfg attach DEV MASTER ["),
        (["add", "a", "b"], "got unexpected extra argument (b) (usage: shapecfg add [DEV])"),
        (["de", "shaper0"], "'de' can be del, detach: write more of it"),
        (["del"], "missing argument 'DEV...' (usage: shapecfg del DEV...)"),
        (["-color=red", "show"], "invalid value for '-c' / '-color' / '--color': 'red' is not"),
        (["list"], "'list' is no command: write add, attach, del, detach, doctor, metrics, "),
        (["-x"], f"no such option '-x' (usage: {USAGE})"),
        (["show", "-s"], "no such option '-s' (options go before the verb: shapecfg -s show)"),
        (["show", "-x"], "no such option '-x' (usage: shapecfg show [DEV]...)"),
        (["--socket"], "option '--socket' requires an argument"),
    ],
)
def test_mistake_is_one_sentence_and_status_one(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    """What can be told without the daemon is told without it, and names the value."""
    done = run(tmp_path / "absent", *arguments)
    assert (done.exit_code, done.stdout) == (1, "")
    assert words_of(done.stderr).startswith(words_of(f"shapecfg: {sentence}"))
    assert done.stderr.count("\n") == 1


def words_of(message: str) -> str:
    """Return a message without the marks that click sets differently from version to version."""
    return re.sub(r"[]['\":]", "", message)


def test_interrupt_is_silent(tmp_path: Path) -> None:
    """Control-C while waiting ends the command without a word, as by the signal."""
    waiting = threading.get_ident()
    path = tmp_path / "socket"
    with FakeDaemon(
        path, b"", is_silent=True, then=lambda: signal.pthread_kill(waiting, signal.SIGINT)
    ):
        done = run(path)
    assert (done.exit_code, done.stdout, done.stderr.strip()) == (130, "", "")


@pytest.mark.parametrize(
    ("short", "long"),
    [
        (["-s"], ["-stats"]),
        (["-d"], ["-details"]),
        (["-j"], ["-json"]),
        (["-j", "-p"], ["-json", "-pretty"]),
        (["-br"], ["-brief"]),
        (["-c"], ["-color"]),
        (["-c"], ["-color=always"]),
    ],
)
def test_options_have_words(tmp_path: Path, short: list[str], long: list[str]) -> None:
    """As with `ip`: with one dash or two, and verbs by their beginnings."""
    with FakeDaemon(tmp_path / "s", answer(shapers=[SHAPER])) as daemon:
        wanted = run(daemon.path, *short, "show")
        for words in (long, [f"-{word}" for word in long]):
            assert run(daemon.path, *words, "sh").stdout == wanted.stdout
    assert wanted.exit_code == 0
    assert wanted.stdout


def test_several_devices(tmp_path: Path) -> None:
    """They are shown in one array, in the order in which they are named."""
    with FakeDaemon(tmp_path / "s", answer(shapers=[SHAPER])) as daemon:
        done = run(daemon.path, "-j", "show", "b", "a")
        assert [each["parameters"]["ifname"] for each in daemon.requests] == ["b", "a"]
    assert len(json.loads(done.stdout)) == 2


@pytest.mark.parametrize("verb", ["del", "detach"])
def test_of_several_all_are_there_or_none_is_touched(tmp_path: Path, verb: str) -> None:
    """A name that is mistyped costs no other shaper."""
    with FakeDaemon(tmp_path / "s", refusal("org.shaper.NoSuchShaper", "a: no such")) as daemon:
        done = run(daemon.path, verb, "a", "b")
        assert [each["method"] for each in daemon.requests] == ["org.shaper.Show"]
    assert done.exit_code == 1
    with FakeDaemon(tmp_path / "t", answer(shapers=[], warnings=[])) as daemon:
        assert run(daemon.path, verb, "a", "b", "a").exit_code == 0
        asked = [each["method"].rpartition(".")[2] for each in daemon.requests]
    assert asked == ["Show"] * 3 + ["Delete" if verb == "del" else "Detach"] * 2


def test_what_concerns_the_whole_daemon_is_warned_of_once(tmp_path: Path) -> None:
    """A state that is not saved, and a daemon of another version."""
    found = {"id": "state-unwritable", "severity": "warning", "sentence": "lost", "remedy": None}
    shapers = [{**SHAPER, "findings": [found]}] * 2
    with FakeDaemon(tmp_path / "s", answer(shapers=shapers, version="0.0.1")) as daemon:
        lines = run(daemon.path, "show", "a", "b").stderr.splitlines()
    assert lines == [
        f"shapecfg: warning: shaperd is version 0.0.1 and shapecfg {__version__}: "
        "restart shaperd (systemctl restart shaper)",
        "shapecfg: warning: lost",
    ]

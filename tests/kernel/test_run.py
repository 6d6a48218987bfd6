"""`shapecfg run`: a command behind a link of its own, as root and as an ordinary user."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import Queue

import pytest

from bench.lab.namespaces import python
from bench.lab.topology import PEER, PEER6, Pair
from tests.kernel.meter import goodput, pour
from tests.kernel.runs import (
    END_S,
    ROOT_USER,
    UIDS,
    USER,
    answering,
    argv,
    children,
    echoing,
    expect_nothing_left,
    name,
    run,
    serving,
    start,
    traces,
)

WHO = pytest.mark.parametrize("who", [ROOT_USER, USER])

DOWN_BITS, UP_BITS = 20_000_000, 5_000_000
# What TCP carries in a full frame: with timestamps, which pasta has not.
FRAME = 1514
PAYLOAD = {ROOT_USER: 1448, USER: 1460}
LIMIT_PERCENT = 1.0
ATTEMPTS = 3  # a hypervisor may take the processor away in one
POUR_S = 1.2
READY_S = 1.0
START_UP_S = 0.3  # of the launcher, and of the end


@pytest.fixture(autouse=True)
def _needs() -> None:
    for program, package in (("pasta", "passt"), ("nft", "nftables")):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program} (package {package})")
    if not Path("/dev/net/tun").exists():
        pytest.skip("needs /dev/net/tun (module tun)")


@WHO
def test_rate_both_ways(pair: Pair, who: str) -> None:
    """A receiver has, down and up, what the headers leave of the rate, within 1 %."""
    received: Queue[float] = Queue()

    def receive(stream: socket.socket) -> None:
        received.put(goodput(stream))

    rates = ("-q", "--down", f"{DOWN_BITS}", "--up", f"{UP_BITS}", "--")
    faults: list[str] = []
    send = partial(pour, size=int(DOWN_BITS * POUR_S) // 8)
    up_size = str(int(UP_BITS * POUR_S) // 8)
    with serving(pair.peer, receive) as sink, serving(pair.peer, send) as source:
        meter_words = python("tests.kernel.meter", PEER, str(source), str(sink), up_size)
        for _ in range(ATTEMPTS):
            done = run(pair, who, *rates, *meter_words)
            assert done.returncode == 0, done.stderr
            measured = {
                "down": (float(done.stdout), DOWN_BITS),
                "up": (received.get(timeout=END_S), UP_BITS),
            }
            faults = [
                f"{way}: {bits:.0f} bit/s of payload, of {rate * PAYLOAD[who] / FRAME:.0f}"
                for way, (bits, rate) in measured.items()
                if abs(bits * FRAME / (rate * PAYLOAD[who]) - 1) > LIMIT_PERCENT / 100
            ]
            print(measured)
            if not faults:
                return
    raise AssertionError(faults)


@WHO
def test_command_is_as_without(pair: Pair, who: str, tmp_path: Path) -> None:
    """User, directory, environment, input and status are the command's; `--json` tells the end."""
    before = traces(pair)
    tmp_path.chmod(0o777)
    script = "id -u; pwd; echo $MARK; cat; echo gone >&2; kill -TERM $$"
    process = start(
        pair.host,
        argv(who, "--json", "link.json", "--", "sh", "-c", script),
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    tmp_path.parent.chmod(0o711)
    with process as started:
        out, complaint = started.communicate("typed\n", timeout=END_S)
    assert out.splitlines() == [UIDS[who], str(tmp_path), "of the test", "typed"]
    assert complaint.splitlines()[0] == "gone"
    assert complaint.splitlines()[1].startswith("shapecfg: down 0 B")
    assert started.returncode == -signal.SIGTERM
    told = json.loads((tmp_path / "link.json").read_text())
    assert (told["exit_status"], told["signal"]) == (128 + signal.SIGTERM, "SIGTERM")
    assert told["up"]["stats"]["sent_bytes"] == 0
    expect_nothing_left(pair, set(), before)


@WHO
def test_delay_and_loss(pair: Pair, who: str) -> None:
    """A datagram takes the delay there and back, a share is lost, and the same with a seed."""
    words = ("--delay", "20ms/10ms", "--loss", "0%/20%", "--seed", "7", "--")
    with echoing(pair.peer) as port:
        runs = [
            run(pair, who, *words, *python("tests.kernel.meter", "echo", PEER, str(port)))
            for _ in range(2)
        ]
    assert [done.returncode for done in runs] == [0, 0], runs
    told = [json.loads(done.stdout) for done in runs]
    assert told[0]["lost"] == told[1]["lost"], runs[0].stderr
    assert 10 < len(told[0]["lost"]) < 70  # of 200; 40 +- 5 standard deviations
    best_ms = min(each["median_ms"] for each in told)
    assert 30 <= best_ms < 33
    counted = re.search(r"up .*, (\d+) dropped", runs[0].stderr)
    assert counted is not None
    assert int(counted[1]) >= len(told[0]["lost"])


@WHO
def test_tcp_recovers_from_loss(pair: Pair, who: str) -> None:
    """Most of the rate is left, both ways; and what a command sent last arrives."""
    received: Queue[int] = Queue()

    def receive(stream: socket.socket) -> None:
        stream.settimeout(END_S)
        received.put(sum(map(len, iter(partial(stream.recv, 65536), b""))))

    size = DOWN_BITS * 3 // 80
    words = ("-q", "--down", f"{DOWN_BITS}", "--delay", "10ms", "--loss", "0.5%", "--")
    with (
        serving(pair.peer, receive) as sink,
        serving(pair.peer, partial(pour, size=size)) as source,
    ):
        done = run(
            pair,
            who,
            *words,
            *python("tests.kernel.meter", PEER, str(source), str(sink), f"{size}"),
        )
        assert done.returncode == 0, done.stderr
        assert received.get(timeout=END_S) == size
        assert float(done.stdout) > DOWN_BITS / 2


def test_relay_has_both_families_and_ends_as_its_server_does(pair: Pair) -> None:
    """With losses a user's IPv6 arrives too, and a connection that the server breaks is broken."""
    fetch = (
        "import socket, sys\n"
        "with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as it:\n"
        "    print(it.recv(100).decode())"
    )

    def greet(stream: socket.socket) -> None:
        stream.sendall(b"hello")

    def slam(stream: socket.socket) -> None:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    words = ("-q", "--loss", "1%", "--", "python3", "-c", fetch)
    for address in (PEER, PEER6):
        with serving(pair.peer, greet, address) as port:
            done = run(pair, USER, *words, address, f"{port}")
        assert (done.stdout, done.stderr) == ("hello\n", "")
        with serving(pair.peer, slam, address) as port:
            done = run(pair, USER, *words, address, f"{port}")
        assert "ConnectionResetError" in done.stderr


def test_exit_status(pair: Pair) -> None:
    """The status is the command's, and that of a shell where there is none; `-q` says nothing."""
    done = run(pair, ROOT_USER, "-q", "--", "sh", "-c", "exit 7")
    assert (done.returncode, done.stderr) == (7, "")
    done = run(pair, ROOT_USER, "no-such-command")
    assert done.returncode == 127
    assert done.stderr == "shapecfg: cannot run 'no-such-command': No such file or directory\n"
    assert run(pair, ROOT_USER, "/").returncode == 126


def test_signals_reach_the_command(pair: Pair) -> None:
    """What is sent to `shapecfg run` is for the command, which may do with it as it likes."""
    script = "trap 'echo told; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    words = argv(USER, "-q", "--", "sh", "-c", script)
    with start(pair.host, words, stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.stdout.readline() == "told\n"
        assert process.wait(END_S) == 5


def test_terminal_is_the_commands(pair: Pair) -> None:
    """Ctrl-C typed in the terminal ends the command, once, and then all that belongs to it."""
    before = traces(pair)
    ours, theirs = pty.openpty()
    script = "tty; trap 'echo interrupted; exit 3' INT; echo ready; while :; do sleep 0.05; done"
    words = argv(USER, "-q", "--", "sh", "-c", script)
    # A session whose terminal it is, as that of a shell. Tests in the background ignore Ctrl-C.
    words = ["env", "--default-signal=INT", "setsid", "--ctty", "--wait", *words]
    with start(pair.host, words, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        text = read_until(ours, "ready")
        pids = children(process.pid)
        os.write(ours, b"\x03")
        text += read_until(ours, "interrupted")
        assert process.wait(END_S) == 3
    assert "/dev/pts/" in text
    assert text.count("interrupted") == 1
    expect_nothing_left(pair, pids, before)
    os.close(ours)
    os.close(theirs)


def read_until(descriptor: int, wanted: str) -> str:
    """Return what a terminal shows, up to a word."""
    text = ""
    while wanted not in text:
        if not select.select([descriptor], [], [], END_S)[0]:
            raise AssertionError(f"no {wanted!r} in {text!r}")
        text += os.read(descriptor, 4096).decode()
    return text


@pytest.mark.parametrize(
    ("who", "victim"),
    [
        (USER, "shapecfg run"),
        (USER, "keeper"),
        (USER, "shaper.daemon"),
        (USER, "pasta"),
        (USER, "relay"),
        (ROOT_USER, "shapecfg run"),
        (ROOT_USER, "nft"),
    ],
)
def test_kill_leaves_nothing(pair: Pair, who: str, victim: str) -> None:
    """Whichever of its processes is killed, no process, device, rule or file is left."""
    before = traces(pair)
    loss = ("--loss", "1%") if victim == "relay" else ()
    script = "setsid sleep 60 & echo ready; wait"
    words = argv(who, "--down", "8mbit", *loss, "--", "sh", "-c", script)
    with start(
        pair.host, words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        pids = children(process.pid)
        os.kill(chosen(process.pid, pids, victim), signal.SIGKILL)
        process.wait(END_S)
        assert process.stderr is not None
        complaint = process.stderr.read()
    if victim in ("shaper.daemon", "pasta", "nft", "relay"):
        assert process.returncode == 2
        assert "shapecfg: the link broke:" in complaint
    expect_nothing_left(pair, pids, before)


def chosen(pid: int, pids: set[int], victim: str) -> int:
    """Return the process that is to be killed."""
    if victim == "shapecfg run":
        return pid
    if victim in ("keeper", "relay"):
        (keeper,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        relay, *_ = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
        return int(keeper if victim == "keeper" else relay)
    return next(each for each in sorted(pids) if victim in name(each).partition(" --")[0])


@WHO
def test_names_and_loopback(pair: Pair, who: str, tmp_path: Path) -> None:
    """A nameserver that the machine alone reaches answers; its loopback does so on request."""
    resolver = tmp_path / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\n")
    script = (
        "import socket; print(socket.gethostbyname('shaper.test'));"
        " route = open('/proc/net/route').read().split()[13];"
        " gateway = socket.inet_ntoa(bytes.fromhex(route)[::-1]);"
        " print(socket.create_connection((gateway, PORT), 0.7).recv(9))"
    )

    def greet(stream: socket.socket) -> None:
        stream.send(b"welcome")

    with answering(pair.host), serving(pair.host, greet, "127.0.0.1") as port:
        words = ("-q", "--", sys.executable, "-c", script.replace("PORT", str(port)))
        for loss in ((), ("--loss", "0%/1%"))[: 1 + (who == USER)]:
            done = run(pair, who, "--host-loopback", *loss, *words, resolver=str(resolver))
            assert done.stdout.split() == ["192.0.2.7", "b'welcome'"], done.stderr
        done = run(pair, who, *words, resolver=str(resolver))
        assert done.stdout.split() == ["192.0.2.7"]


def test_what_is_missing_is_said(pair: Pair, tmp_path: Path) -> None:
    """One sentence names what is missing, and the package that brings it or the command."""
    done = run(pair, USER)
    assert done.returncode == 1
    assert "run needs a command" in done.stderr
    done = run(pair, "barred", "true")
    assert done.returncode == 2
    assert "/dev/net/tun may not be opened" in done.stderr
    # What the launcher needs is there, but for pasta.
    for program in ("mount", "umount", "ip"):
        (tmp_path / program).symlink_to(str(shutil.which(program)))
    for each in (tmp_path, *tmp_path.parents[:2]):
        each.chmod(0o755)
    done = run(pair, USER, "true", path=str(tmp_path))
    assert (done.returncode, done.stderr) == (
        2,
        "shapecfg: run needs pasta: install passt (apt install passt)\n",
    )


@pytest.mark.parametrize("words", [(), ("--loss", "1%")])
def test_ready_at_once(pair: Pair, words: tuple[str, ...]) -> None:
    """A command that does nothing is over within a second, but for what a busy machine adds."""
    took = [READY_S + START_UP_S + 1]
    while min(took) > READY_S + START_UP_S and len(took) <= ATTEMPTS:
        took.append(timed(lambda: run(pair, USER, "-q", *words, "true")))
    assert min(took) <= READY_S + START_UP_S, took


def timed(act: Callable[[], object]) -> float:
    """Return how many seconds something takes."""
    began = time.monotonic()
    act()
    return time.monotonic() - began

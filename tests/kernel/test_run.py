"""`shapecfg run`: a command behind a link of its own, as root and as an ordinary user."""

from __future__ import annotations

import json
import os
import pty
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from bench.lab.topology import PEER, PEER6, Pair
from shapecfg.run import link_plan, relay_plan
from tests.kernel.runs import (
    END_S,
    NEEDS,
    ROOT_USER,
    UIDS,
    USER,
    WHO,
    answering,
    argv,
    children,
    expect_nothing_left,
    name,
    run,
    serving,
    start,
    traces,
)

pytestmark = NEEDS


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


def test_relay_does_not_connect_to_itself(pair: Pair) -> None:
    """A connection to its own door would be relayed there, again and again; it is reset."""
    knock = (
        "import socket, sys\n"
        "for door in sys.argv[2:]:\n"
        "    try:\n"
        "        with socket.create_connection((door, int(sys.argv[1])), 5) as it:\n"
        "            print(it.recv(100))\n"
        "    except OSError as error:\n"
        "        print(type(error).__name__)"
    )
    own = link_plan.addresses(0)
    words = ("python3", "-c", knock, f"{relay_plan.PORT}", own.resolver, own.relay6)
    done = run(pair, USER, "-q", "--loss", "1%", "--", *words)
    assert (done.stdout.split(), done.stderr) == (["ConnectionResetError"] * 2, "")


def test_relay_carries_as_many_connections_as_the_machine_allows(pair: Pair) -> None:
    """A limit that a process may raise is none: each connection takes two descriptors."""
    crowd = (
        "import resource, socket, sys\n"
        "_, most = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))\n"
        "address = sys.argv[1], int(sys.argv[2])\n"
        "opened = [socket.create_connection(address, 5) for _ in range(100)]\n"
        "print(sum(each.recv(5) == b'hello' for each in opened))"
    )

    def greet(stream: socket.socket) -> None:
        stream.sendall(b"hello")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 1024))

    with serving(pair.peer, greet) as port:
        words = ("-q", "--loss", "1%", "--", "python3", "-c", crowd, PEER, f"{port}")
        done = run(pair, USER, *words, preexec_fn=limit)
    assert (done.stdout, done.stderr) == ("100\n", "")


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

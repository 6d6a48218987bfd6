"""Runs of `shapecfg run`, what they talk to, and what they could leave behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.lab.errors import LabError
from bench.lab.namespaces import Namespace, python
from bench.lab.topology import PEER, Pair
from bench.lab.wait import wait_until
from tests.kernel.ordinary import UID
from tests.kernel.steps import ip_json

ROOT_USER, USER = "root", "user"
UIDS = {ROOT_USER: "0", USER: str(UID)}
END_S = 15.0
WHO = pytest.mark.parametrize("who", [ROOT_USER, USER])


def obstacle() -> str:
    """Return why nothing can be run behind a link here, or nothing."""
    for program, package in (("pasta", "passt"), ("nft", "nftables")):
        if shutil.which(program) is None:
            return f"needs {program} (package {package})"
    return "" if Path("/dev/net/tun").exists() else "needs /dev/net/tun (module tun)"


NEEDS = pytest.mark.skipif(bool(obstacle()), reason=obstacle())


def argv(who: str, *words: str, resolver: str = "-") -> list[str]:
    """Return the command line of `shapecfg run` of a user."""
    run = python("shapecfg", "run", *words)
    return python("tests.kernel.ordinary", UIDS.get(who, who), resolver, *run)


def run(pair: Pair, who: str, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command behind a link, to its end."""
    resolver = options.pop("resolver", "-")
    path = options.pop("path", os.environ["PATH"])
    with start(
        pair.host,
        argv(who, *words, resolver=resolver),
        stdin=options.pop("stdin", subprocess.DEVNULL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        path=path,
        **options,
    ) as process:
        out, complaint = process.communicate(timeout=END_S)
    return subprocess.CompletedProcess(process.args, process.returncode, out, complaint)


@contextlib.contextmanager
def start(
    namespace: Namespace, words: list[str], path: str = os.environ["PATH"], **options: Any
) -> Iterator[subprocess.Popen[Any]]:
    """Start a program in a namespace; it is killed if it has not ended by then."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MARK": "of the test"}
    environment["PATH"] = path
    with namespace.enter():
        process = subprocess.Popen(words, env=environment, **options)
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


@contextlib.contextmanager
def serving(
    namespace: Namespace, serve: Callable[[socket.socket], None], address: str = PEER
) -> Iterator[int]:
    """Serve one connection at a time in a namespace, by a thread; yield the port."""
    with namespace.enter():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.create_server((address, 0), family=family)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    serve(connection)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(END_S)
        listener.close()


def children(pid: int) -> set[int]:
    """Return a process and all that come from it."""
    found, new = {pid}, [pid]
    while new:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{new[-1]}/task").iterdir():
                each = (task / "children").read_text().split()
                new = [*map(int, each), *new]
                found.update(map(int, each))
        new = new[:-1]
    return found


def is_alive(pid: int) -> bool:
    """Whether a process is there, and not only waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def name(pid: int) -> str:
    """Return what a process runs."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def traces(pair: Pair) -> dict[str, Any]:
    """Return what a run could leave behind on the machine."""
    links = ip_json(pair.host, "address", "show")
    routes = ip_json(pair.host, "-4", "route", "show", "table", "all")
    return {
        "addresses": {
            link["ifname"]: sorted(each["local"] for each in link["addr_info"]) for link in links
        },
        "routes": sorted(f"{each['dst']} {each['dev']}" for each in routes),
        "rules": pair.host.run(["nft", "list", "ruleset"]).stdout,
        "forwarding": pair.host.run(["sysctl", "net.ipv4.ip_forward"]).stdout,
        "files": sorted(os.listdir("/mnt")),
        "mounts": len(Path("/proc/self/mounts").read_text().splitlines()),
    }


def expect_nothing_left(pair: Pair, pids: set[int], before: dict[str, Any]) -> None:
    """Wait until all processes of a run and all that it made are gone."""
    wait_until(lambda: not any(map(is_alive, pids)), "the processes to be gone")
    with contextlib.suppress(LabError):
        wait_until(lambda: traces(pair) == before, "nothing to be left")
    assert traces(pair) == before


@contextlib.contextmanager
def echoing(namespace: Namespace) -> Iterator[int]:
    """Send datagrams back in a namespace; yield the port."""
    with namespace.enter():
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind((PEER, 0))

    def echo() -> None:
        while (came := server.recvfrom(2048))[0]:
            server.sendto(*came)

    thread = threading.Thread(target=echo)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        with namespace.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", server.getsockname())
        thread.join(END_S)
        server.close()


@contextlib.contextmanager
def answering(namespace: Namespace) -> Iterator[None]:
    """Answer each question for a name on the loopback of a namespace: 192.0.2.7 (RFC 1035)."""
    with namespace.enter():
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("127.0.0.1", 53))

    def serve() -> None:
        while (asked := server.recvfrom(512))[0]:
            question, client = asked
            flags, counts = b"\x81\x80", b"\0\1\0\1\0\0\0\0"
            name_and_kind = question[12 : question.index(b"\0", 12) + 5]
            answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([192, 0, 2, 7])
            server.sendto(question[:2] + flags + counts + name_and_kind + answer, client)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        with namespace.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", 53))
        thread.join(END_S)
        server.close()

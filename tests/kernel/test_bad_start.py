"""A daemon that cannot start, or that finds a mess: a sentence, a status, and nothing broken."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.lab.daemon import Shaperd, children
from bench.lab.namespaces import Namespace, python
from bench.lab.topology import MASTER, Pair
from bench.lab.wait import wait_until
from shapecfg.client import Client
from tests.kernel.sentences import assert_refused
from tests.kernel.steps import SHAPER, Listener, Stream, exists, now_ns, shape, wait_state

USAGE, REFUSED = 1, 2

# Options, and the words the sentence must have.
OPTIONS = [
    ("--hz 0", ["hz 0", "10 to 100000"]),
    ("--hz soon", ["--hz", "soon"]),
    ("--shapers -1", ["shapers -1", "0 to 1024"]),
    ("--log-level silly", ["silly", "debug"]),
    ("--nonsense", ["--nonsense"]),
    ("--config /nonexistent/shaper.toml", ["/nonexistent/shaper.toml", "No such file"]),
]

# A configuration, and the words.
CONFIGURATIONS = [
    ("speed = 1", ["speed is unknown", "known are"]),
    ("[device", ["not TOML"]),
    ("[device.shaper0]\nspeed = '10m'", ["device.shaper0", "10m", "10mbit"]),
    ("[device.'a/b']\nspeed = '1mbit'", ["a/b", "not allowed"]),
]

DAMAGED = {
    "truncated": '{"version": 1, "shapers": [{"ifname": "sha',
    "out-of-bounds": '{"version": 1, "shapers": [{"ifname": "shaper0", "master": null,'
    ' "rate_bits": 64000, "burst_bytes": null, "queue": "fifo", "limit_packets": null,'
    ' "hz": -1}]}',
    "newer": '{"version": 2, "shapers": []}',
}


def run_shaperd(
    namespace: Namespace, directory: Path, *options: str, prefix: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a daemon that is to fail, with a socket and a state of its own unless told otherwise."""
    own = ("--socket", str(directory / "second"), "--state-dir", str(directory / "state-second"))
    argv = [*prefix, *python("shaper.daemon", *own, *options)]
    return namespace.run(argv, check=False, seconds=10)


def test_bad_options_are_refused(pair: Pair, tmp_path: Path) -> None:
    """As usage, before anything is touched."""
    for typed, words in OPTIONS:
        done = run_shaperd(pair.host, tmp_path, *typed.split())
        assert_refused(done, USAGE, *words, program="shaperd")
    assert not exists(pair.host)
    assert list(tmp_path.iterdir()) == []


def test_check_judges_a_configuration_and_does_no_more(pair: Pair, tmp_path: Path) -> None:
    """A bad one is named with its fault, a good one is passed in silence; nothing is started."""
    path = tmp_path / "shaper.toml"
    for text, words in CONFIGURATIONS:
        path.write_text(text, encoding="utf-8")
        done = run_shaperd(pair.host, tmp_path, "--check", "--config", str(path))
        assert_refused(done, USAGE, str(path), *words, program="shaperd")
    path.write_text("hz = 100\n[device.shaper0]\nspeed = '64kbit'\n", encoding="utf-8")
    done = run_shaperd(pair.host, tmp_path, "--check", "--config", str(path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not exists(pair.host)
    assert list(tmp_path.iterdir()) == [path]


def test_without_a_tun_device_the_module_is_named(pair: Pair, tmp_path: Path) -> None:
    """Where /dev/net/tun is hidden, the daemon says what to load and leaves nothing behind."""
    if shutil.which("unshare") is None:
        pytest.skip("needs the unshare command (package util-linux)")
    hide = f'mount --bind {tmp_path} /dev/net && exec "$@"'
    prefix = ("unshare", "--mount", "sh", "-c", hide, "sh")
    done = run_shaperd(pair.host, tmp_path, prefix=prefix)
    assert_refused(done, REFUSED, "/dev/net/tun", "modprobe tun", program="shaperd")
    assert not (tmp_path / "second").exists()


def test_without_capabilities_the_one_needed_is_named(pair: Pair, tmp_path: Path) -> None:
    """No device can be made without CAP_NET_ADMIN, and none is left behind."""
    if shutil.which("setpriv") is None:
        pytest.skip("needs the setpriv command (package util-linux)")
    prefix = ("setpriv", "--bounding-set", "-all", "--inh-caps", "-all")
    done = run_shaperd(pair.host, tmp_path, prefix=prefix)
    assert_refused(done, REFUSED, SHAPER, "CAP_NET_ADMIN", "run as root", program="shaperd")
    assert not exists(pair.host)


def assert_goes_on(pair: Pair, daemon: Shaperd) -> None:
    """Hold the first daemon to be answering and forwarding."""
    assert daemon.show(SHAPER)["state"] == "active"
    with Listener(pair.peer) as listener, Stream(pair.host):
        listener.wait_after(now_ns())


def test_a_second_daemon_leaves_the_first_alone(
    pair: Pair, shaperd: Shaperd, tmp_path: Path
) -> None:
    """On the same socket, state or device: refused by name, and the traffic goes on."""
    shape(shaperd, pair)
    wait_state(shaperd, "active")
    attempts = [
        (("--socket", str(shaperd.socket)), [str(shaperd.socket), "--socket"]),
        (("--state-dir", str(shaperd.state)), [str(shaperd.state), "--state-dir"]),
        (("--shapers", "3"), [SHAPER, "held by another process"]),
    ]
    for options, words in attempts:
        done = run_shaperd(pair.host, tmp_path, *options)
        assert_refused(done, REFUSED, *words, program="shaperd")
        assert_goes_on(pair, shaperd)
    assert "Traceback" not in shaperd.log()


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_state_that_cannot_be_used_is_kept_aside(pair: Pair, tmp_path: Path, text: str) -> None:
    """Under another name, told in the log; and the daemon starts and works without it."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "state.json").write_text(text, encoding="utf-8")
    with Shaperd(pair.host, directory=tmp_path) as daemon:
        assert daemon.show(SHAPER)["state"] == "detached"
        daemon.configure("attach", SHAPER, MASTER)
        kept = state / "state.json.damaged-1"
        assert kept.read_text(encoding="utf-8") == text
        assert f"kept as {kept}" in daemon.log()
        assert "Traceback" not in daemon.log()
    saved = json.loads((state / "state.json").read_text(encoding="utf-8"))
    assert saved["shapers"][0]["master"] == MASTER


def test_a_daemon_needs_no_standard_streams(pair: Pair, tmp_path: Path) -> None:
    """Whatever starts it may have closed them: no socket of ours has their numbers."""
    path = tmp_path / "own"
    command = shlex.join(
        python("shaper.daemon", "--socket", str(path), "--state-dir", str(tmp_path / "state"))
    )
    process = pair.host.popen(["bash", "-c", f"exec {command} <&- >&- 2>&-"])
    wait_until(path.exists, "its socket")
    Client(str(path)).attach(SHAPER, MASTER)
    wait_until(lambda: children(process.pid), "a forwarder")
    for pid in (process.pid, *children(process.pid)):
        opened = [Path(f"/proc/{pid}/fd/{number}").readlink() for number in range(3)]
        assert opened == [Path("/dev/null")] * 3
    process.terminate()
    assert process.wait(10) == 0

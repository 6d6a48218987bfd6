"""A machine to install on: this machine's files below an overlay, with a systemd of its own.

systemd-nspawn boots it from an overlay of the root whose upper layer is in memory. The mounts are
made in a mount namespace that ends with the container, so there is nothing to unmount, whatever
happens to the test. Its network is private: one cable, `eth1`, leads to the peer.

Control groups are the one thing that has to be taken away by hand: the container gets a group of
its own in each hierarchy systemd looks at (the unified one, and on a machine with both kinds also
the named one), which is removed after it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.lab.errors import LabError, MissingError
from bench.lab.launch import __file__ as launcher
from bench.lab.namespaces import Namespace, stop
from bench.lab.wait import wait_until

BOOT_S = 30.0  # chosen: takes 3 s here
COMMAND_S = 240.0  # an installation on a machine that is busy
LAYER_BYTES = 512 * 2**20  # chosen: the installation, its wheels and a copy of the checkout

_NUMBERS = itertools.count(1)  # of the containers of this process

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# $1: an empty directory, $2: the size of the upper layer; then the command that boots. It waits
# for a line on its input, so that files can be put in place first. The control groups to join
# come in $GROUPS_TO_JOIN.
PREPARE = """
set -eu
mount -t tmpfs -o "size=$2" tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
rm -rf "$1/root/etc/systemd/system" "$1/root/etc/fstab"
for group in $GROUPS_TO_JOIN; do echo $$ >"$group/cgroup.procs"; done
shift 2
echo mounted
read -r _
while setpriv --pdeathsig KILL -- "$@" || [ $? = 133 ]; do :; done
"""


class Container:
    """A booted container; made by `booted`.

    Attributes:
        leader: the process id, on this side, of the systemd inside.
        root: its root directory, as this side can reach it.
        upper: the directory with what differs from this machine's own files.

    """

    def __init__(self, process: subprocess.Popen[str], directory: Path) -> None:
        seen_from_there = Path(f"/proc/{process.pid}/root{directory}")
        self._process = process
        self._directory = directory
        self.root = seen_from_there / "root"
        self.upper = seen_from_there / "upper"
        self.leader = 0

    def boot(self) -> None:
        """Let systemd start and wait until it has nothing left to do.

        Raises:
            LabError: it did not come up; the message holds what it printed.

        """
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        try:
            self.leader = wait_until(self._find_leader, "the container's systemd", BOOT_S)
            wait_until(self._is_up, "the container to boot", BOOT_S)
        except LabError as error:
            console = (self._directory.parent / "console").read_text(errors="replace")
            raise LabError(f"{error}; its console:\n{console}") from error

    def _find_leader(self) -> int:
        for nspawn in children(self._process.pid):
            for pid in children(nspawn):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    if Path(f"/proc/{pid}/comm").read_text(encoding="utf-8") == "systemd\n":
                        return pid
        if self._process.poll() is not None:
            raise LabError(f"systemd-nspawn ended with status {self._process.returncode}")
        return 0

    def _is_up(self) -> bool:
        answer = self.try_run("systemctl", "is-system-running").stdout.strip()
        return answer in {"running", "degraded"}

    def argv(self, *argv: str) -> list[str]:
        """Return the command that runs `argv` inside, as root."""
        enter = ["nsenter", "--all", "--target", str(self.leader)]
        return [*enter, "env", "-i", f"PATH={PATH}", "HOME=/root", "LC_ALL=C.UTF-8", *argv]

    def try_run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end, successful or not."""
        return subprocess.run(
            self.argv(*argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=COMMAND_S,
            check=False,
        )

    def run(self, *argv: str) -> str:
        """Run a command inside that must succeed, and return what it printed.

        Raises:
            LabError: it did not; the message holds all it wrote.

        """
        done = self.try_run(*argv)
        if done.returncode != 0:
            said = (done.stdout + done.stderr).strip()
            raise LabError(f"{' '.join(argv)}: exit {done.returncode}: {said}")
        return done.stdout

    def shell(self, script: str) -> str:
        """Run lines of shell inside, as an administrator would type them."""
        return self.run("sh", "-euc", script)

    def reboot(self) -> None:
        """Have systemd shut down, and go on as soon as its successor is there, still booting.

        Its network is as bare as that of a machine that was switched on.
        """
        before = self.leader
        self.try_run("systemctl", "reboot")
        self.leader = wait_until(
            lambda: (now := self._find_leader()) != before and now, "another systemd", BOOT_S
        )

    def connect(self, peer: Namespace) -> None:
        """Join `eth1` inside to `eth0` of the peer."""
        peer.ip(f"link add eth0 type veth peer name eth1 netns {self.leader}", "link set eth0 up")

    def close(self) -> None:
        """End everything inside at once, and with it the mounts and the network."""
        if self.leader:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.leader, signal.SIGKILL)
        stop(self._process)


def children(pid: int) -> list[int]:
    """Return the process ids of the children of a process, of its first thread."""
    try:
        told = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(each) for each in told.split()]


@contextlib.contextmanager
def prepared(directory: Path, goal: str = "basic.target") -> Iterator[Container]:
    """Lay the files of a container over this machine's own; `boot` starts it.

    Args:
        directory: empty, and not used for anything else.
        goal: what systemd starts; what is enabled belongs to multi-user.target.

    Raises:
        MissingError: no overlay can be mounted here, or no control group made; it says why.

    """
    target = directory / "machine"
    target.mkdir()
    name = f"shaper-test-{os.getpid()}-{next(_NUMBERS)}"
    with _control_groups(name) as groups, (directory / "console").open("w") as console:
        process = subprocess.Popen(
            _command(name, target, goal),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=console,
            encoding="utf-8",
            env={**os.environ, **_settings(groups)},
            start_new_session=True,
        )
        container = Container(process, target)
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "mounted\n":
                raise MissingError((directory / "console").read_text().strip())
            yield container
        finally:
            container.close()


def _command(name: str, target: Path, goal: str) -> list[str]:
    """Return the command that ends as systemd-nspawn, with mounts that end with it."""
    boot = ["systemd-nspawn", "--boot", "--quiet", f"--directory={target / 'root'}"]
    boot += [f"--machine={name}", "--private-network", "--console=pipe"]
    # Nothing of this machine's takes part: no machined, no time zone, no journal, no resolver.
    boot += ["--register=no", "--keep-unit", "--link-journal=no", "--timezone=off"]
    # Programs of egress, ingress and cgroup need it; nspawn keeps it from its guests.
    boot += ["--capability=CAP_BPF", "--system-call-filter=bpf"]
    boot += ["--resolv-conf=off", f"systemd.unit={goal}"]
    private = ["unshare", "--mount", "--propagation=private"]
    prepare = ["sh", "-c", PREPARE, "prepare", str(target), str(LAYER_BYTES)]
    launch = [sys.executable, "-S", launcher, str(os.getpid())]
    return [*launch, *private, *prepare, *boot]


def _settings(groups: Sequence[Path]) -> dict[str, str]:
    return {
        "GROUPS_TO_JOIN": " ".join(map(str, groups)),
        "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
    }


@contextlib.contextmanager
def _control_groups(name: str) -> Iterator[list[Path]]:
    """Make a control group in each hierarchy that systemd uses, and remove it in the end."""
    groups = [place / name for place in _hierarchies()]
    try:
        for group in groups:
            group.mkdir()
    except OSError as error:
        raise MissingError(f"needs a control group of its own: {error}") from error
    try:
        yield groups
    finally:
        for group in groups:
            wait_until(lambda group=group: _is_removed(group), f"{group} to be free", 10.0)


def _hierarchies() -> list[Path]:
    """Return where the unified and the named hierarchy are mounted (proc_pid_mountinfo(5))."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ")
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.append(Path(fields.split(" ")[4]))
    return found


def _is_removed(group: Path) -> bool:
    """Try to remove a control group and those below it; busy ones need another try."""
    for directory, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(directory)
    return not group.exists()

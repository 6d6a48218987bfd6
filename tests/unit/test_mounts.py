"""What users can have a say in is read, whatever they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shaper.kernel.mounts import Mount, mounts
from shaper.kernel.processes import _command

OWN = b"36 25 0:31 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
ODD = [b"\xff\xfe", b"a\x0cb", "a\u2028b".encode(), b"a\r\x1db", b"\x1b]0;x\x07", b"-", b"a\\040-"]


@pytest.mark.parametrize("name", ODD)
def test_a_mount_of_any_name_hides_no_other(tmp_path: Path, name: bytes) -> None:
    """Bytes that are no text, and ends of lines that are none, before and behind."""
    odd = b"90 25 0:50 / /media/" + name + b" rw - fuse.x " + name + b" rw,user_id=1000\n"
    table = tmp_path / "mountinfo"
    table.write_bytes(odd + OWN + odd)
    found = list(mounts(table))
    assert len(found) == 3
    assert found[1] == Mount("cgroup2", ["rw", "nsdelegate"], "/sys/fs/cgroup")


@pytest.mark.parametrize(
    ("name", "shown"), [(b"\\x1b]0;x\\x07", "?]0;x?"), (b"\\xff\\n", "\ufffd?")]
)
def test_a_command_of_any_name_is_shown(name: bytes, shown: str) -> None:
    """What a process calls itself neither fails nor reaches the terminal."""
    naming = f"open('/proc/self/comm', 'wb').write(b'{name.decode()}'); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", naming], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert _command(str(process.pid)) == shown

"""Run shapecfg as an ordinary user: `somebody.py UID GID GROUP[,GROUP...] ARGUMENTS...`.

The interpreter may lie where only root can read. So everything is imported first, and root is
given up after that.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from bench.lab.daemon import Shaperd
from bench.lab.namespaces import Namespace, python
from shapecfg import cli, completion, render

NOBODY = 65534  # the kernel's overflow id: owns nothing
NEEDED = (cli, completion, render)  # what shapecfg imports when it is needed


def shapecfg_as_nobody(
    namespace: Namespace, daemon: Shaperd, *arguments: str, groups: Sequence[int] = ()
) -> subprocess.CompletedProcess[str]:
    """Run the real shapecfg as a user who is nobody, and a member of these groups."""
    members = ",".join(map(str, groups))
    argv = python(__name__, str(NOBODY), str(NOBODY), members, *arguments)
    return namespace.run(argv, check=False, extra={"SHAPER_SOCKET": str(daemon.socket)})


def main() -> None:
    """Become somebody, and run the command."""
    uid, gid, members, *arguments = sys.argv[1:]
    os.setgroups([int(group) for group in members.split(",") if group])
    os.setresgid(int(gid), int(gid), int(gid))
    os.setresuid(int(uid), int(uid), int(uid))
    sys.argv[1:] = arguments
    cli.main()


if __name__ == "__main__":
    main()

"""What a wheel brings beside the code: unit, manual pages, completions, in `shaper/share`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from shaper.errors import InvalidValue

SHARE = Path(__file__).parent / "share"
UNIT = "systemd/shaper.service"
PROGRAM = "@PREFIX@/sbin/shaperd"  # in the units
HOMES = ("/home", "/root", "/run/user")  # specified: what ProtectHome= hides, systemd.exec(5)
# What goes where on a machine that takes it.
PLACES = {
    UNIT: "/etc/systemd/system/shaper.service",
    "systemd/shaper-withdraw.service": "/etc/systemd/system/shaper-withdraw.service",
    "sysusers.d/shaper.conf": "/etc/sysusers.d/shaper.conf",
    "tmpfiles.d/shaper.conf": "/etc/tmpfiles.d/shaper.conf",
    "modules-load.d/shaper.conf": "/etc/modules-load.d/shaper.conf",
    "man": "/usr/local/share/man",
    "bash-completion": "/usr/local/share/bash-completion",
    "zsh": "/usr/local/share/zsh",
    "fish": "/usr/local/share/fish",
}


def unit(share: Path = SHARE, program: Path | None = None) -> str:
    """Return the service's unit for this installation, below a list of what else was shipped.

    Args:
        share: where the package data lie.
        program: the shaperd that the unit is to start; beside this interpreter by default.

    Raises:
        InvalidValue: this installation has none.

    """
    path = share / UNIT
    if not path.exists():
        raise InvalidValue(
            f"{share} does not exist: only a wheel brings the unit along; 'make install' and the "
            "Debian package have put it in its place"
        )
    program = program or Path(sys.executable).with_name("shaperd")
    text = path.read_text(encoding="utf-8").replace(PROGRAM, str(program))
    text = text.replace("Documentation=file:@PREFIX@/share/doc/shaper/README.md\n", "")
    listed = [f"# {share / name}: belongs into {place}" for name, place in PLACES.items()]
    listed.append(f"# In the units {program} stands for {PROGRAM}.")
    return "\n".join([*listed, text])


def obstacle(paths: Iterable[Path] | None = None) -> str | None:
    """Return why the unit cannot start this installation, or None.

    Args:
        paths: what the service has to reach; the environment and its interpreter by default.

    """
    executable = Path(sys.executable)
    for path in paths or (executable, executable.resolve()):
        if any(path.is_relative_to(home) for home in HOMES):
            return (
                f"the service cannot reach {path}: its unit hides home directories. Install "
                "outside of them: PIPX_HOME=/opt/pipx PIPX_BIN_DIR=/usr/local/bin pipx install "
                "--python /usr/bin/python3"
            )
    return None

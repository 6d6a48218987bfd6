"""The firewall's rules, as the programs that manage them print them. Reading them needs rights."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Any

# Specified: proc(5); a table is listed while the modules of before nftables have it.
_LEGACY = {
    "/proc/net/ip_tables_names": ("iptables-legacy-save", "iptables-save"),
    "/proc/net/ip6_tables_names": ("ip6tables-legacy-save", "ip6tables-save"),
}
# Chosen.
_SECONDS = 0.5
_SYSTEM_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def nftables() -> list[dict[str, Any]] | None:
    """Return the rule set as nft(8) prints it in JSON; None where it cannot be read."""
    text = _output("nft", "-j", "list", "ruleset")
    if text is None:
        return None
    try:
        return list(json.loads(text)["nftables"]) if text.strip() else []
    except (ValueError, KeyError, TypeError):
        return None


def legacy() -> list[str]:
    """Return the rules that iptables-save prints; none where there are none to be seen."""
    lines = []
    for names, programs in _LEGACY.items():
        if not _has_content(names):
            continue
        for program in programs:
            text = _output(program)
            if text is not None:
                lines += text.splitlines()
                break
    return lines


def _has_content(path: str) -> bool:
    try:
        with open(path, encoding="ascii") as file:
            return bool(file.read().strip())
    except OSError:
        return False


def _output(program: str, *arguments: str) -> str | None:
    path = shutil.which(program, path=_SYSTEM_PATH)
    if path is None:
        return None
    try:
        done = subprocess.run(
            [path, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None

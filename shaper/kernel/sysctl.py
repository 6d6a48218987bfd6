"""What /proc/sys says of receiving: strict reverse-path filtering drops the replies."""

from __future__ import annotations

from pathlib import Path

_CONF = Path("/proc/sys/net/ipv4/conf")
_STRICT = 1  # Documentation/networking/ip-sysctl.rst, rp_filter; RFC 3704, section 2.2
_LOOSE = 2


def reverse_path_warning(master: str) -> str | None:
    """Return a warning if replies to shaped traffic would be dropped on the master.

    They arrive there while the route back leads through the shaper. The kernel uses the larger of
    the two settings.
    """
    values = [_rp_filter(name) for name in ("all", master)]
    if max(values) != _STRICT:
        return None
    return (
        f"strict reverse-path filtering drops replies that arrive on {master} "
        f"(sysctl -w net.ipv4.conf.{master.replace('.', '/')}.rp_filter={_LOOSE})"
    )


def _rp_filter(name: str) -> int:
    try:
        return int((_CONF / name / "rp_filter").read_text())
    except (OSError, ValueError):
        return 0

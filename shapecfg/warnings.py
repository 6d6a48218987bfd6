"""What `show` warns of beside what concerns one shaper."""

from __future__ import annotations

from collections.abc import Iterator

from shapecfg.reply import Shapers
from shaper import __version__

_UNSAVED = "state-unwritable"


def general(answer: Shapers) -> Iterator[str]:
    """Return what is wrong with the daemon as a whole."""
    version = answer["version"]
    if version is not None and version != __version__:
        yield (
            f"shaperd is version {version} and shapecfg {__version__}: "
            "restart shaperd (systemctl restart shaper)"
        )
    for shaper in answer["shapers"]:
        for finding in shaper["findings"] or ():
            if finding["id"] == _UNSAVED:
                yield finding["sentence"]

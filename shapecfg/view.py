"""What the options before the verb ask for."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import NamedTuple, TextIO

from shapecfg.client import Client


class View(NamedTuple):
    """The options before the verb."""

    socket: str
    has_statistics: bool
    is_detailed: bool
    is_json: bool
    is_pretty: bool
    is_brief: bool
    color: str

    @property
    def client(self) -> Client:
        """The daemon to ask."""
        return Client(self.socket)

    @property
    def has_color(self) -> bool:
        """Whether to print in colour."""
        return has_color(self.color, sys.stdout, os.environ)


def has_color(wanted: str, output: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether to print in colour: as asked for, or on a terminal where NO_COLOR is not set."""
    if wanted != "auto":
        return wanted == "always"
    is_plain = bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"
    return output.isatty() and not is_plain

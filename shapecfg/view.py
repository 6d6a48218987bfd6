"""What the options before the verb ask for."""

from __future__ import annotations

from typing import NamedTuple

from shapecfg.client import Client


class View(NamedTuple):
    """The options before the verb."""

    socket: str
    has_statistics: bool
    is_detailed: bool
    is_json: bool
    is_pretty: bool
    is_brief: bool

    @property
    def client(self) -> Client:
        """The daemon to ask."""
        return Client(self.socket)

"""The shell examples of README and docs, and how they are run.

A fenced block marked `sh`, or `bash`, says on the line before it what is to be done with it:

    <!-- run: pair -->       run in a new lab: host and peer, a daemon with an unattached shaper0
    <!-- run: router -->     the same with a LAN behind the host
    <!-- run: bridge -->     the same with a container behind docker0, and Docker's firewall rules
    <!-- run: same -->       run in the lab of the block before
    <!-- not run: reason --> left to the reader

`run: pair, prints: TEXT` also asks that TEXT is among what the block prints. Blocks are run line
by line on the host as they stand; lines that start with # are for the reader, and a backslash at
the end continues a line.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

MARKER = re.compile(
    r"<!-- (?:run: (?P<lab>pair|router|bridge|same)(?:, prints: (?P<prints>.+?))?"
    r"|not run: \S.*?) -->"
)
FENCE = re.compile(r"^```(?P<language>\w*)\s*$")
SHELLS = {"sh", "shell", "bash", "console"}
BUILT_IN = {"eval"}  # of the shell: no program has to be there


@dataclass(frozen=True)
class Block:
    """A fenced block of shell, with the marker before it, if there is one."""

    place: str  # file:line
    marker: re.Match[str] | None
    text: str
    language: str = "sh"

    @property
    def shell(self) -> str:
        """The program that runs it."""
        return "bash" if self.language == "bash" else "sh"

    @property
    def lab(self) -> str | None:
        """Where it is to be run; None if it is not."""
        return self.marker["lab"] if self.marker else None

    @property
    def prints(self) -> str:
        """What must be among its output; empty: anything will do."""
        return (self.marker["prints"] or "") if self.marker else ""

    def commands(self) -> list[str]:
        """Return its lines, continued ones joined, without blank ones and comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]

    def programs(self) -> set[str]:
        """Return what has to be there to run it: the shell, and the first word of each command."""
        words = {shlex.split(command, comments=True)[0] for command in self.commands()}
        return {self.shell} | words - BUILT_IN


@dataclass(frozen=True)
class Scenario:
    """Blocks that are run one after the other in one lab."""

    lab: str
    blocks: list[Block] = field(default_factory=list)

    @property
    def place(self) -> str:
        """Where it starts: file:line."""
        return self.blocks[0].place


def read_blocks(path: Path, name: str) -> list[Block]:
    """Return the blocks of shell in a Markdown file."""
    blocks = []
    lines = path.read_text(encoding="utf-8").splitlines()
    start = None
    for number, line in enumerate(lines):
        if not (fence := FENCE.match(line)):
            continue
        if start is None:
            start, language = number, fence["language"]
        else:
            if language in SHELLS:
                marker = MARKER.fullmatch(lines[start - 1].strip()) if start else None
                text = "\n".join(lines[start + 1 : number])
                blocks.append(Block(f"{name}:{start + 1}", marker, text, language))
            start = None
    return blocks


def scenarios(blocks: list[Block]) -> list[Scenario]:
    """Group the blocks of one file that are to be run by the lab they share.

    Raises:
        ValueError: the first one continues a lab that there is not.

    """
    found: list[Scenario] = []
    for block in blocks:
        if block.lab == "same":
            if not found:
                raise ValueError(f"{block.place} continues a lab, but none was started")
            found[-1].blocks.append(block)
        elif block.lab is not None:
            found.append(Scenario(block.lab, [block]))
    return found

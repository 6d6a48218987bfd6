"""Every shell example in README and docs works as it stands."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.lab.daemon import Shaperd
from bench.lab.errors import MissingError
from bench.lab.namespaces import ROOT, Namespace
from bench.lab.topology import Pair, lay_cable, make_pair, make_router
from tests.kernel.conftest import obstacle
from tests.repo.examples import Block, Scenario, read_blocks, scenarios

# As Docker 20 makes them for its bridge, without the published ports.
DOCKER_RULES = """\
-P FORWARD DROP
-N DOCKER-USER
-A DOCKER-USER -j RETURN
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
"""


@contextlib.contextmanager
def make_bridge() -> Iterator[Pair]:
    """Build host and peer, and a container 172.17.0.2 behind the host's docker0."""
    with make_router() as router, Namespace() as container:
        host = router.host
        host.ip("link add docker0 type bridge", "link set docker0 up")
        host.ip("address add 172.17.0.1/16 dev docker0")
        lay_cable(host, "veth0", container, "eth0")
        host.ip("link set veth0 master docker0")
        container.ip("address add 172.17.0.2/16 dev eth0", "route add default via 172.17.0.1")
        for rule in DOCKER_RULES.splitlines():
            done = host.run(["iptables", *rule.split()], check=False)
            if done.returncode:
                raise MissingError(f"this kernel has no {rule}: {done.stderr.strip()}")
        yield Pair(host, container)


LABS = {"pair": make_pair, "router": make_router, "bridge": make_bridge}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = {page: read_blocks(page, str(page.relative_to(ROOT))) for page in PAGES if page.exists()}
SCENARIOS = [scenario for blocks in BLOCKS.values() for scenario in scenarios(blocks)]


@pytest.fixture
def commands(tmp_path: Path) -> str:
    """Return a search path on which shapecfg is the one of this checkout."""
    program = tmp_path / "shapecfg"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m shapecfg "$@"\n')
    program.chmod(0o755)
    return f"{tmp_path}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@contextlib.contextmanager
def stage(lab: str) -> Iterator[tuple[Namespace, Shaperd]]:
    """Build the lab an example is run in, with a daemon that has one unattached shaper."""
    with LABS[lab]() as built, Shaperd(built.host) as daemon:
        yield built.host, daemon


def run(block: Block, host: Namespace, environment: dict[str, str]) -> None:
    """Run a block line by line and hold its output to what its marker promises."""
    output = ""
    for command in block.commands():
        done = host.run([block.shell, "-euc", command], check=False, extra=environment)
        output += done.stdout + done.stderr
        assert done.returncode == 0, f"{block.place}: {command}\n{output}"
    assert block.prints in output, block.place


def test_readme_has_examples_that_are_run() -> None:
    """A reader of README sees at least one example that is known to work."""
    assert any(block.lab for block in BLOCKS.get(ROOT / "README.md", []))


@pytest.mark.parametrize(
    "block",
    [block for blocks in BLOCKS.values() for block in blocks],
    ids=lambda block: block.place,
)
def test_every_example_says_whether_it_is_run(block: Block) -> None:
    """No shell example is left out silently."""
    assert block.marker is not None


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.place)
def test_example_works(scenario: Scenario, commands: str) -> None:
    """Typed as printed, every line succeeds, and prints what the page says it prints."""
    if (reason := obstacle()) is not None:
        pytest.skip(reason)
    needed = {program for block in scenario.blocks for program in block.programs()}
    missing = [each for each in sorted(needed) if shutil.which(each, path=commands) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    with contextlib.ExitStack() as stack:
        try:
            host, daemon = stack.enter_context(stage(scenario.lab))
        except MissingError as error:
            pytest.skip(str(error))
        environment = {"PATH": commands, "SHAPER_SOCKET": str(daemon.socket)}
        for block in scenario.blocks:
            run(block, host, environment)


def test_blocks_are_read_with_their_markers(tmp_path: Path) -> None:
    """Only shell is taken, with the marker on the line before, and continued lines joined."""
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- run: pair, prints: 64Kbit -->\n```sh\n# first\nshapecfg speed \\\n  shaper0\n```\n"
        "```json\n{}\n```\n<!-- run: same -->\n```sh\nip link\n```\n```sh\nunmarked\n```\n"
        "<!-- not run: takes a machine of yours -->\n```sh\nreboot\n```\n"
    )
    blocks = read_blocks(page, "page.md")
    assert [(block.place, block.lab, block.prints) for block in blocks] == [
        ("page.md:2", "pair", "64Kbit"),
        ("page.md:11", "same", ""),
        ("page.md:14", None, ""),
        ("page.md:18", None, ""),
    ]
    assert [block.marker is not None for block in blocks] == [True, True, False, True]
    assert blocks[0].commands() == ["shapecfg speed    shaper0"]
    (scenario,) = scenarios(blocks)
    assert [block.place for block in scenario.blocks] == ["page.md:2", "page.md:11"]


def test_a_continuation_of_nothing_is_refused(tmp_path: Path) -> None:
    """A page cannot begin with a block that relies on one before."""
    page = tmp_path / "page.md"
    page.write_text("<!-- run: same -->\n```sh\nip link\n```\n")
    with pytest.raises(ValueError, match=r"page\.md:2"):
        scenarios(read_blocks(page, "page.md"))

"""What becomes of a master, by the thousand: flaps, names, sizes, addresses, and events lost."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.lab.daemon import Shaperd
from bench.lab.topology import MASTER, Pair, make_pair
from bench.lab.wait import wait_until
from tests.kernel.steps import frozen, link, plug, shape, show, wait_state
from tests.ordeal.campaign import Trial, campaign

# Chosen.
BATCH = 100  # changes between two looks at what came of them
LOSS_EVENTS = 16_000  # more than fit the receive buffer


@contextlib.contextmanager
def laboratory() -> Iterator[tuple[Pair, Shaperd]]:
    """Run a shaper on the master of a pair."""
    with (
        make_pair() as pair,
        tempfile.TemporaryDirectory() as directory,
        Shaperd(pair.host, directory=Path(directory)) as daemon,
    ):
        shape(daemon, pair, "10mbit")
        wait_state(daemon, "active")
        yield pair, daemon


def follow(trial: Trial, change: Callable[[int], str], ifname: str = MASTER) -> None:
    """Make changes in batches; after each the shaper must be as its master is.

    Args:
        trial: the repetitions.
        change: returns the command of `ip` for a number.
        ifname: the master's name when a batch is over.
    """
    with laboratory() as (pair, daemon):
        for number in trial:
            pair.host.ip(*(change(number * BATCH + each) for each in range(BATCH)))
            trial.repeated(BATCH - 1)
            wanted = {key: link(pair.host, ifname)[key] for key in ("mtu", "address")}

            def agrees(wanted: dict[str, object] = wanted) -> bool:
                own = link(pair.host)
                return {key: own[key] for key in wanted} == wanted

            wait_until(agrees, f"the shaper to be as {ifname}: {wanted}")
            wait_state(daemon, "active")
        if "put right" in daemon.log():
            trial.failed("something was believed that was not so")


@campaign("master mtu", count=10_000)
def change_mtu(trial: Trial) -> None:
    """Change the MTU, now and then to one without IPv6."""
    follow(trial, lambda number: f"link set {MASTER} mtu {(1000, 1400, 1500)[number % 3]}")


@campaign("master mac", count=10_000)
def change_mac(trial: Trial) -> None:
    """Change the link-layer address."""
    follow(
        trial, lambda number: f"link set {MASTER} address 02:00:00:00:00:{number % 200 + 1:02x}"
    )


@campaign("master flaps", count=10_000)
def flap(trial: Trial) -> None:
    """Take the master down and up again."""
    follow(trial, lambda number: f"link set {MASTER} {('down', 'up')[number % 2]}")


@campaign("master renames", count=10_000)
def rename(trial: Trial) -> None:
    """Rename the master, to another name and back."""
    names = (MASTER, "uplink")
    follow(trial, lambda n: f"link set {names[n % 2]} name {names[1 - n % 2]}")


@campaign("master re-creations", count=10_000)
def recreate(trial: Trial) -> None:
    """Remove the master and make it anew."""
    with laboratory() as (pair, daemon):
        for _ in trial:
            pair.host.ip(f"link del {MASTER}")
            wait_state(daemon, "master-missing")
            plug(pair)
            wait_state(daemon, "active")


@campaign("lost events", count=100)
def lose_events(trial: Trial) -> None:
    """Let more happen than the kernel can tell, and end otherwise than what it told of."""
    with laboratory() as (pair, daemon):
        for number in trial:
            mtu = 1300 + number % 100
            with frozen(daemon):
                pair.host.ip(
                    *(f"link set {MASTER} mtu {1400 + n % 2}" for n in range(LOSS_EVENTS))
                )
                pair.host.ip(f"link set {MASTER} mtu {mtu}", f"link set {MASTER} down")
            wait_state(daemon, "master-down")
            wait_until(lambda mtu=mtu: show(daemon)["mtu"] == mtu, f"an MTU of {mtu}")
            pair.host.ip(f"link set {MASTER} up")
            wait_state(daemon, "active")

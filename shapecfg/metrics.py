"""Shapers as Prometheus sees them: text, a file for node_exporter, or a listener.

Names and units follow Prometheus' conventions: base units, `_total` for what only grows. Each
scrape is one call of `Show`, so the numbers of one scrape belong together.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from prometheus_client import CollectorRegistry, generate_latest, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shapecfg import scrapes
from shapecfg.client import EXIT_REFUSED, CallError, Client
from shapecfg.reply import Shaper, Shapers
from shaper.desired.alarms import Alarm
from shaper.model import State

_BITS = 8
_NANOSECONDS = 1e9

# Chosen: scrapes within it share an answer, as anyone may ask and the daemon serves root first.
_FRESH_SECONDS = 1.0
_FILE_MODE = 0o644  # node_exporter is another user, and what is in it is no secret

Reader = Callable[[Shaper], float | None]

_COUNTERS: tuple[tuple[str, str, Reader], ...] = (
    ("sent_bytes", "Bytes sent, on the wire.", lambda each: each["stats"]["sent_bytes"]),
    ("sent_packets", "Frames sent, on the wire.", lambda each: each["stats"]["sent_packets"]),
    ("overlimits", "Frames that had to wait.", lambda each: each["stats"]["overlimits"]),
    ("ecn_marked_packets", "Frames marked.", lambda each: each["stats"]["ecn_marks"]),
    ("busy_bytes", "Bytes sent while busy.", lambda each: each["stats"]["busy_bytes"]),
    ("busy_seconds", "Time in which the rate was in use.", lambda each: _seconds(each, "busy_ns")),
)
_GAUGES: tuple[tuple[str, str, Reader], ...] = (
    (
        "configured_rate_bytes_per_second",
        "The rate that is set; 0: none.",
        lambda each: _rate(each),
    ),
    ("burst_bytes", "The bucket.", lambda each: each["options"]["burst_bytes"]),
    (
        "largest_burst_bytes",
        "The most that left beyond the rate in any window of the last ten seconds.",
        lambda each: each["stats"]["lately_burst_bytes"],
    ),
    ("limit_packets", "Frames that may wait.", lambda each: each["options"]["limit_packets"]),
    ("backlog_bytes", "Bytes that wait.", lambda each: each["stats"]["backlog_bytes"]),
    ("backlog_packets", "Frames that wait.", lambda each: each["stats"]["backlog_packets"]),
    ("flows", "Flows that have a place in the round.", lambda each: each["stats"]["flows"]),
    (
        "sojourn_seconds",
        "What 99 of 100 frames of the last ten seconds did not exceed in the queue.",
        lambda each: _seconds(each, "delay_p99_ns"),
    ),
)


class Shaping(Collector):
    """Asks a daemon for its shapers when it is asked, at most once a second.

    Args:
        client: the daemon.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._asking = threading.Lock()
        self._asked: float | None = None
        self._answer: Shapers | None = None

    def collect(self) -> Iterator[Metric]:
        """Return all metrics; only `shaper_up` if the daemon does not answer."""
        up = GaugeMetricFamily("shaper_up", "Whether shaperd answers.")
        answer = self._latest()
        if answer is None:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield from _events(answer)
        shapers = [_labelled_in_utf8(each) for each in answer["shapers"]]
        for family, read in _simple():
            for shaper in shapers:
                value = read(shaper)
                if value is not None:
                    family.add_metric([shaper["ifname"]], value)
            yield family
        yield from _labelled(shapers)

    def _latest(self) -> Shapers | None:
        """Return what the daemon answers, or has just answered; None if it does not."""
        with self._asking:
            if self._asked is None or time.monotonic() - self._asked >= _FRESH_SECONDS:
                try:
                    self._answer = self._client.overview()
                except CallError:
                    self._answer = None
                self._asked = time.monotonic()
            return self._answer


def _labelled_in_utf8(shaper: Shaper) -> Shaper:
    """Return a shaper whose names are text, as labels have to be; the kernel takes any bytes."""
    ifname, link = shaper["ifname"], shaper["link"]
    return {**shaper, "ifname": _in_utf8(ifname), "link": link and _in_utf8(link)}


def _in_utf8(name: str) -> str:
    return name.encode(errors="backslashreplace").decode()


def _rate(shaper: Shaper) -> float:
    return shaper["options"]["rate_bits"] / _BITS


def _seconds(shaper: Shaper, name: Literal["busy_ns", "delay_p99_ns"]) -> float | None:
    time_ns = shaper["stats"][name]
    return None if time_ns is None else time_ns / _NANOSECONDS


def _events(answer: Shapers) -> Iterator[Metric]:
    counts = answer["events"] or {}
    events = CounterMetricFamily("shaper_events", "Events by kind.", labels=["event"])
    for kind, count in counts.items():
        events.add_metric([kind], count)
    yield events
    restarts = CounterMetricFamily("shaper_forwarder_restarts", "Forwarders that were replaced.")
    restarts.add_metric([], counts.get("forwarder-replaced", 0))
    yield restarts


def _simple() -> Iterator[tuple[CounterMetricFamily | GaugeMetricFamily, Reader]]:
    """Return the metrics that are one number of a shaper, and how it is read."""
    for name, text, reader in _COUNTERS:
        yield CounterMetricFamily(f"shaper_{name}", text, labels=["device"]), reader
    for name, text, reader in _GAUGES:
        yield GaugeMetricFamily(f"shaper_{name}", text, labels=["device"]), reader


def _labelled(shapers: list[Shaper]) -> Iterator[Metric]:
    """Return the metrics that have more labels than the device."""
    dropped = CounterMetricFamily(
        "shaper_dropped_packets", "Frames dropped, by reason.", labels=["device", "reason"]
    )
    altered = CounterMetricFamily(
        "shaper_altered_packets", "Frames that a link changed.", labels=["device", "how"]
    )
    state = GaugeMetricFamily("shaper_state", "1 for the state.", labels=["device", "state"])
    alarm = GaugeMetricFamily("shaper_alarm", "1 in this alarm.", labels=["device", "alarm"])
    labels = ["device", "master", "capture", "queue"]
    info = GaugeMetricFamily("shaper_info", "What a shaper is: always 1.", labels=labels)
    for each in shapers:
        ifname = each["ifname"]
        for reason, count in each["stats"]["dropped"].items():
            dropped.add_metric([ifname, reason], count)
        for how, count in (each["stats"]["altered"] or {}).items():
            altered.add_metric([ifname, how], count)
        for name in dict.fromkeys([*State, each["state"]]):
            state.add_metric([ifname, name], name == each["state"])
        raised = [alarm["alarm"] for alarm in each["alarms"] or ()]
        for name in dict.fromkeys([*Alarm, *raised]):
            alarm.add_metric([ifname, name], name in raised)
        queue = each["options"]["queue"]
        info.add_metric([ifname, each["link"] or "", each["capture"] or "route", queue], 1)
    yield from (dropped, altered, state, alarm, info)


def registry(client: Client) -> CollectorRegistry:
    """Return a registry of the shapers of a daemon, and of nothing else."""
    made = CollectorRegistry(auto_describe=False)
    made.register(Shaping(client))
    return made


def text(client: Client) -> str:
    """Return all metrics in Prometheus' text format."""
    return generate_latest(registry(client)).decode()


def write_textfile(client: Client, path: Path) -> None:
    """Write them to a file, all at once, as node_exporter's textfile collector wants it.

    Its directory may be another user's, so a name that exists, or leads elsewhere, is not opened.
    """
    told = text(client).encode()
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with open(descriptor, "wb") as file:
                os.fchmod(descriptor, _FILE_MODE)
                file.write(told)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise CallError(f"cannot write {path}: {error.strerror}", EXIT_REFUSED) from error


def listen(client: Client, host: str, port: int) -> None:
    """Answer scrapes until interrupted. Raises CallError when it cannot listen."""
    scrapes.serve(make_wsgi_app(registry(client)), host, port)

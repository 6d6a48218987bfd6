"""Writes the format of shaper.toml: the reverse of `config.parse_config`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tomli_w

from shaper.desired import line_syntax
from shaper.desired.declared import write_network
from shaper.desired.trace_syntax import write_trace
from shaper.line_options import LineOptions
from shaper.model import Capture, Queue, Spec


def write_config(specs: Iterable[Spec]) -> str:
    """Return a configuration in which these shapers are all that is declared.

    What is not set, or is what it would be anyway, is left out, so that the text says what
    somebody asked for. `config.parse_config` returns the same shapers for it.
    """
    devices = {spec.ifname: _device(spec) for spec in specs}
    document: dict[str, Any] = {"shapers": 0}
    if devices:
        document["device"] = devices
    return tomli_w.dumps(document, multiline_strings=True)


def _device(spec: Spec) -> dict[str, Any]:
    options, network = spec.options, write_network(spec.network)
    values: dict[str, Any] = {
        "master": spec.master,
        "capture": None if spec.capture is Capture.ROUTE else spec.capture.value,
        "cgroup": spec.cgroup,
        "speed": options.rate_bits or None,
        "queue": None if options.queue is Queue.FQ_CODEL else options.queue.value,
        "limit": options.limit_packets,
        "burst": options.burst_bytes,
        "hz": options.hz if options.has_own_hz else None,
        **_line(options.line),
        "trace": write_trace(options.playback.trace) if options.playback else None,
        **{key: value for key, value in network.items() if value != []},
    }
    return {key: value for key, value in values.items() if value is not None}


def _line(line: LineOptions) -> dict[str, Any]:
    texts = line_syntax.write_line(line)
    return {**texts, "seed": line.seed} if "seed" in texts else texts

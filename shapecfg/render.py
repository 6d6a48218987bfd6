"""Shapers as text, in the manner of `tc -s qdisc show`, and as JSON, in that of `ip -j link`."""

from __future__ import annotations

import json
from collections.abc import Iterable

from shapecfg.reply import Shaper
from shaper.units import format_measured_rate, format_rate, format_size

NO_RATE = "none"
DEFAULT = "default"  # of a rate that is not set yet
_INDENT = "    "


def describe(shaper: Shaper, *, is_detailed: bool, has_statistics: bool) -> str:
    """Return the lines of one shaper, without the last line's end."""
    lines = [_summary(shaper)]
    if is_detailed:
        lines += _details(shaper)
    if has_statistics:
        lines += _statistics(shaper)
    return f"\n{_INDENT}".join(lines)


def describe_briefly(shaper: Shaper) -> str:
    """Return one line: the device, its state and its rate."""
    return f"{_title(shaper):<20} {shaper['state']:<14} {rate(shaper)}"


def to_json(values: Iterable[object], *, is_pretty: bool) -> str:
    """Return an array, on one line or indented."""
    if is_pretty:
        return json.dumps(list(values), indent=4)
    return json.dumps(list(values), separators=(",", ":"))


def rate(shaper: Shaper) -> str:
    """Return the rate as tc prints it, or a word if there is none."""
    rate_bits = shaper["options"]["rate_bits"]
    return format_rate(rate_bits) if rate_bits else NO_RATE


def _title(shaper: Shaper) -> str:
    """Return the device and its master, as `ip link` joins them."""
    link = shaper["link"]
    return shaper["ifname"] if link is None else f"{shaper['ifname']}@{link}"


def _summary(shaper: Shaper) -> str:
    options = shaper["options"]
    burst_bytes, limit_packets = options["burst_bytes"], options["limit_packets"]
    burst = format_size(burst_bytes) if burst_bytes else DEFAULT
    limit = f"{limit_packets}p" if limit_packets else DEFAULT
    return (
        f"{_title(shaper)}: <{shaper['operstate']}> {_capture(shaper)}rate {rate(shaper)}"
        f" burst {burst} queue {options['queue']}"
        f" limit {limit} hz {options['hz']} state {shaper['state']}"
    )


def _capture(shaper: Shaper) -> str:
    """Return how traffic comes to it, but for the way of 1996."""
    if shaper["capture"] in (None, "route"):  # None: of an older daemon
        return ""
    return " ".join(filter(None, [shaper["capture"], shaper["cgroup"]])) + " "


def _details(shaper: Shaper) -> list[str]:
    """Return what the summary leaves out or, as tc does, rounds."""
    options = shaper["options"]
    lines = [f"ifindex {shaper['ifindex']} mtu {shaper['mtu']}"]
    if options["rate_bits"]:
        lines.append(f"exactly {options['rate_bits']}bit burst {options['burst_bytes']}b")
    return lines


def _statistics(shaper: Shaper) -> list[str]:
    stats = shaper["stats"]
    dropped = {reason: count for reason, count in stats["dropped"].items() if count}
    lines = [
        f"sent {stats['sent_bytes']} bytes {stats['sent_packets']} pkts"
        f" (dropped {sum(dropped.values())}, overlimits {stats['overlimits']})"
        f" backlog {format_size(stats['backlog_bytes'])} {stats['backlog_packets']}p"
    ]
    if dropped:
        reasons = ", ".join(f"{reason} {count}" for reason, count in dropped.items())
        lines.append(f"dropped for: {reasons}")
    delay_ns, delay_p99_ns = stats["delay_ns"], stats["delay_p99_ns"]
    if delay_ns is not None and delay_p99_ns is not None:
        lines.append(
            f"flows {stats['flows']} marked {stats['ecn_marks']} delay {_milliseconds(delay_ns)}"
            f" p99 {_milliseconds(delay_p99_ns)}"
        )
    achieved_bits = stats["achieved_bits"]
    if achieved_bits is not None:
        lines.append(_achieved(achieved_bits, shaper["options"]["rate_bits"]))
    return lines


def _milliseconds(time_ns: int) -> str:
    return f"{time_ns / 1_000_000:.1f}ms"


def _achieved(achieved_bits: int, rate_bits: int) -> str:
    """Return the rate while there was work, and its share of the rate that is set."""
    text = f"achieved {format_measured_rate(achieved_bits)} while busy"
    if rate_bits == 0:
        return text
    hundredths = (achieved_bits * 10_000 + rate_bits // 2) // rate_bits
    return f"{text} ({hundredths // 100}.{hundredths % 100:02}% of rate)"

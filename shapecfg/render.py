"""Shapers as text, in the manner of `tc -s qdisc show`, and as JSON, in that of `ip -j link`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable

from shapecfg.reply import FollowedTrace, Shaper, Statistics
from shaper.model import Queue
from shaper.units import format_measured_rate, format_rate, format_size

NO_RATE = "none"
DEFAULT = "default"  # of a rate that is not set yet
_INDENT = "    "


# Specified: those of `ip -color`, as SGR parameters.
_DEVICE = "36"
_UP = "32"
_DOWN = "31"

Paint = Callable[[str, str], str]


def plain(text: str, _: str) -> str:
    """Return a text without colour."""
    return text


def colored(text: str, code: str) -> str:
    """Return a text in a colour."""
    return f"\x1b[{code}m{text}\x1b[0m"


def describe(
    shaper: Shaper, *, is_detailed: bool, has_statistics: bool, paint: Paint = plain
) -> str:
    """Return the lines of one shaper, without the last line's end."""
    lines = [_summary(shaper, paint)]
    lines += [
        f"{paint('ALARM', _DOWN)} {alarm['alarm']}: {alarm['sentence']}"
        for alarm in shaper["alarms"] or ()
    ]
    if is_detailed:
        lines += _details(shaper)
    if has_statistics:
        lines += _statistics(shaper)
    return f"\n{_INDENT}".join(lines)


def describe_briefly(shaper: Shaper, paint: Paint = plain) -> str:
    """Return one line: the device, its state and its rate."""
    state = paint(f"{shaper['state']:<14}", _state_color(shaper))
    return f"{paint(f'{_title(shaper):<20}', _DEVICE)} {state} {rate(shaper)}"


def _state_color(shaper: Shaper) -> str:
    return _UP if shaper["state"] == "active" else _DOWN


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


def _summary(shaper: Shaper, paint: Paint) -> str:
    options = shaper["options"]
    burst_bytes, limit_packets = options["burst_bytes"], options["limit_packets"]
    burst = format_size(burst_bytes) if burst_bytes else DEFAULT
    limit = f"{limit_packets}p" if limit_packets else DEFAULT
    return (
        f"{paint(_title(shaper), _DEVICE)}: <{shaper['operstate']}> {_capture(shaper)}"
        f"rate {rate(shaper)}"
        f" burst {burst} queue {options['queue']}"
        f" limit {limit} hz {options['hz']}{_line(options.get('line') or {})}"
        f"{_trace(options.get('trace'))}"
        f" state {paint(shaper['state'], _state_color(shaper))}"
    )


def _line(line: dict[str, str]) -> str:
    """Return the emulated link as `set` takes it; nothing where there is none."""
    return "".join(f" {key} {value}" for key, value in line.items())


def _trace(trace: FollowedTrace | None) -> str:
    """Return what the rate follows, how far that is, and what it is now."""
    if trace is None:
        return ""
    length_s, at_s = trace["length_us"] / 1e6, trace["at_us"] / 1e6
    if trace["mode"] == "loop":
        at_s %= length_s
    now = format_rate(trace["rate_bits"]) if trace["rate_bits"] else "0bit"
    return f" trace {trace['mode']} {length_s:g}s at {at_s:.1f}s now {now}"


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
    if altered := {what: count for what, count in (stats["altered"] or {}).items() if count}:
        lines.append(", ".join(f"{what} {count}" for what, count in altered.items()))
    delay_ns, delay_p99_ns = stats["delay_ns"], stats["delay_p99_ns"]
    if delay_ns is not None and delay_p99_ns is not None:
        has_flows = shaper["options"]["queue"] == Queue.FQ_CODEL
        flows = f"flows {stats['flows']} marked {stats['ecn_marks']} " if has_flows else ""
        delay = f"delay {_milliseconds(delay_ns)} p99 {_milliseconds(delay_p99_ns)}"
        lines.append(f"{flows}{delay}{_worst_delay(stats)}")
    return lines + _achieved(stats, shaper["options"]["rate_bits"])


def _worst_delay(stats: Statistics) -> str:
    """Return what 99 of 100 frames of the worst second did not exceed, since when that counts."""
    worst_ns, since = stats["total_delay_p99_ns"], stats["achieved_since"]
    if not worst_ns or since is None:
        return ""
    return f", at worst {_milliseconds(worst_ns)} since {_clock(since)}"


def _milliseconds(time_ns: int) -> str:
    return f"{time_ns / 1_000_000:.1f}ms"


def _achieved(stats: Statistics, rate_bits: int) -> list[str]:
    """Return the rate while there was work: lately, in all, and in the worst second."""
    lately, total, since = stats["lately_bits"], stats["achieved_bits"], stats["achieved_since"]
    packets = stats["lately_packets"]
    lines = []
    if lately is not None:
        text = f"achieved {_share_of(lately, rate_bits)} in the last 10s"
        if total is not None and since is not None:
            text += f", {_percent(total, rate_bits)} since {_clock(since)}"
        lines.append(text)
    elif total is not None:
        began = f" since {_clock(since)}" if since is not None else ""
        lines.append(f"achieved {_share_of(total, rate_bits)}{began}")
    if lately is None and packets:
        frames = "1 frame" if packets == 1 else f"{packets} frames"
        lines.append(f"{frames} in the last 10s: too few to tell what it achieves")
    return lines + _bursts(stats) + _worst_second(stats, rate_bits)


def _bursts(stats: Statistics) -> list[str]:
    """Return the most that left beyond the rate in any window: lately, and in all."""
    lately, total, since = (
        stats["lately_burst_bytes"],
        stats["total_burst_bytes"],
        stats["achieved_since"],
    )
    bursts = [f"{format_size(lately)} in the last 10s"] if lately else []
    if total and since is not None:
        bursts.append(f"{format_size(total)} since {_clock(since)}")
    return [f"largest burst {', '.join(bursts)}"] if bursts else []


def _worst_second(stats: Statistics, rate_bits: int) -> list[str]:
    """Return the least rate, the largest burst and the longest delay of a second of the hour."""
    bits, burst, delay_ns = (
        stats["worst_bits"],
        stats["worst_burst_bytes"],
        stats["worst_delay_p99_ns"],
    )
    if bits is None and not delay_ns:  # nothing waited, and there was too little to tell a rate
        return []
    worst = [_share_of(bits, rate_bits)] if bits is not None else []
    worst += [f"burst {format_size(burst)}"] if burst else []
    worst += [f"p99 {_milliseconds(delay_ns)}"] if delay_ns else []
    return [f"worst second of the last hour {', '.join(worst)}"]


def _share_of(achieved_bits: int, rate_bits: int) -> str:
    """Return a rate while there was work, and its share of the rate that is set."""
    text = f"{format_measured_rate(achieved_bits)} while busy"
    return f"{text} ({_percent(achieved_bits, rate_bits)})" if rate_bits else text


def _percent(achieved_bits: int, rate_bits: int) -> str:
    if not rate_bits:
        return format_measured_rate(achieved_bits)
    hundredths = (achieved_bits * 10_000 + rate_bits // 2) // rate_bits
    return f"{hundredths // 100}.{hundredths % 100:02}%"


def _clock(seconds: int) -> str:
    """Return a time of this day as 14:02, and of another with its date."""
    then, now = time.localtime(seconds), time.localtime()
    is_today = then[:3] == now[:3]
    return time.strftime("%H:%M" if is_today else "%Y-%m-%d %H:%M", then)

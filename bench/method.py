"""What the document says before the figures, and how they are measured: text, nothing else."""

from __future__ import annotations

INTRODUCTION = """\
# Benchmarks

`python -m bench report` writes this page from runs of `make bench`, `make bench-latency` and
`make bench-kernels`. The bare cable, the kernel's `tbf` and `htb`, and the shaper carry the same
traffic between the same two network namespaces, one after the other, round after round, and
everything is measured where it arrives. Absolute figures belong to this machine; compare ratios.
All figures are in [figures.csv](benchmarks/figures.csv), medians of `n` measurements each, and
[buckets.csv](benchmarks/buckets.csv).
"""

METHOD = """\
## How it is measured

- **Burst** is the smallest bucket B for which arrivals obey bytes(t1, t2] ≤ B + R · (t2 - t1)
  over every window, by the kernel's nanosecond stamps. The *worst* burst is that of the whole
  measurement. The *typical* one is the median over stretches of 100 ms, or of ten of the largest
  frames at slow rates. Stretches that carried less than half of the rate are left out, and
  fewer than five give no figure.
- **Why two.** One late wake-up in hundreds decides the worst burst, and the machine may be its
  cause. So the limit of two frames and a millisecond holds for the typical burst, and shapers are
  compared by the worst. The typical one misses what occurs in less than every second stretch, and
  what accumulates over longer than one.
- **Rate error** is that of the straight line through all frames after the first quarter (at
  most a second). For TCP it includes how well the flows fill the link.
- **Above 105 %** is the share of time in which a window held more than that of the rate;
  **first second** what arrived in the second that the first frame began.
- Bytes are those on the wire, with the Ethernet header, without check sequence and preamble.
  TCP at 1 Gbit/s and above crosses the cable as offload frames; each counts as the wire frames
  a NIC would have cut it into. Unlimited traffic is only counted: recording would slow it down.
- All have a queue of 50 ms of the rate, at least ten full frames. tbf has a bucket of one
  kernel tick (tc-tbf(8)), htb the one tc computes, the shaper its default; where buckets are
  compared, both have the one named.
- UDP is offered at 120 % of the rate (200 % up to 1 Mbit/s). A flood is ten times the rate, and
  begins when TCP has its connection.
- **Ping** is an ICMP echo beside the traffic, stamped by the kernel on its return.
- A measurement with more than 5 % of steal is repeated once if there is time. It does not count
  where its cell has calmer ones, and its processor time never does.
"""

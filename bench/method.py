"""What the document says before the figures, and how they are measured: text, nothing else."""

from __future__ import annotations

INTRODUCTION = """\
# Benchmarks

Written by `python -m bench report` from a run of `make bench` and one of `make bench-latency`;
nothing in it was edited.
The bare cable, the kernel's `tbf` and `htb`, and the shaper, on the same two network namespaces
and the same traffic, one after the other in every row, round after round. Everything is measured
where it arrives. Absolute figures belong to this machine; compare ratios.
"""

METHOD = """\
## How it is measured

- **Burst** is the smallest bucket B for which what arrived obeys
  bytes(t1, t2] ≤ B + R · (t2 - t1), over every window, with the kernel's nanosecond stamps.
  The *worst* burst is that of the whole measurement. For the *typical* one the recording is cut
  into stretches of 100 ms, or of ten of its largest frames where the rate carries fewer; B is
  taken of each by itself, from nothing, and typical is the median of the stretches. Stretches
  that carried less than half of the rate are left out, since silence would flatter; of fewer
  than five that are left nothing is called typical. All who are compared are judged so.
- **Why two.** The worst burst is what whoever comes next has to be ready for, so the comparison
  with tbf and htb goes by it, between medians over the repeats. But one wake-up that came late,
  of the hundreds or thousands in a measurement, decides it, and on a machine that gives its
  processors away it says more of the machine than of the shaper. The limit of two frames and a
  millisecond is owed *where wake-ups come on time*. Nothing that arrives tells whether one did;
  but a late one spoils the stretch it falls in and no other. Where late wake-ups are the
  exception the median stretch has none, and where they are the rule it has one and the limit is
  missed, as it should be. What this forgives is anything that happens in less than every
  second stretch, whosever fault it is, and what adds up only over longer than a stretch; their
  length is a choice, and longer ones would forgive less. So what nine of ten stretches obey and
  the worst burst stand beside each verdict. A rate too slow for five stretches is judged by its
  worst burst.
- A frame is stamped where it arrives. What waits for a processor there arrives together, so the
  cable adds to everyone's bursts, most of all to those that would be smallest.
- **Rate error** is that of the straight line through all frames after the first quarter (at most
  a second). For TCP it says how well the flows fill the link as much as how well it is shaped.
- **Above 105 %** is the share of time in which a window held more than that of what the rate
  carries. Windows in which the rate carries fewer than three frames are left out.
- **First second** is what arrived in the second that the first frame began, of what the rate
  carries.
- Bytes are those on the wire: with the Ethernet header, without check sequence and preamble.
- *Capture*: every frame was recorded. TCP at 1 Gbit/s and above crosses the cable as offload
  frames; each counts as the wire frames a NIC would have cut it into. *Count*: unlimited traffic
  is not recorded, which would slow it down; the counters of the receiving interface (UDP) and the
  receiver's own count (TCP) are used.
- Rates up to 1 Mbit/s need long measurements and load nothing: they are measured at the same
  time, each on a cable of its own between the same namespaces. Their processor time is not told
  apart.
- All have a queue of 50 ms of the rate, ten full frames at least. tbf has a bucket of one tick of
  the kernel (tc-tbf(8)), htb the one tc computes, the shaper its default; but where buckets are
  compared, both have the one that is told.
- UDP is offered at 120 % of the rate (200 % up to 1 Mbit/s), and as fast as one process can where
  that is unlimited. A flood is ten times the rate, and begins when TCP has its connection.
- **Ping** is an ICMP echo through the shaper beside the traffic, stamped by the kernel on its
  return. Added latency is that of an idle link, over the bare cable's in the same run.
- A measurement during which a hypervisor took more than 5 % of the processors' time is made
  again, once, as long as there is time for that. If there are calmer ones in its cell, it is kept
  but not counted. Its processor time is never counted.
"""

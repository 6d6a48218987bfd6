"""What a shaper should be follows from what is wanted and what is seen, and from nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.desired.plan import check_burst, make_plan, make_settings, offload_bytes
from shaper.desired.trace_syntax import parse_trace
from shaper.errors import InvalidValue
from shaper.model import Framing, Link, Options, Queue, Spec, State
from shaper.trace import Playback

ARPHRD_NONE = 0xFFFE
OWN = Link(
    ifindex=3,
    ifname="shaper0",
    mtu=1500,
    address=bytes.fromhex("020000000003"),
    arphrd=1,
    is_up=True,
    is_running=True,
    operstate="UP",
)
MASTER = replace(OWN, ifindex=2, ifname="eth1", address=bytes.fromhex("020000000002"))
SPEC = Spec("shaper0", "eth1", Options(rate_bits=64_000))


def rate(rate_bits: int) -> Options:
    """Return options of this rate and nothing else."""
    return Options(rate_bits=rate_bits)


@pytest.mark.parametrize(
    ("spec", "own", "master", "state"),
    [
        (replace(SPEC, master=None), OWN, None, State.DETACHED),
        (replace(SPEC, options=Options()), OWN, MASTER, State.NO_SPEED),
        (replace(SPEC, options=Options()), OWN, None, State.NO_SPEED),
        (SPEC, OWN, None, State.MASTER_MISSING),
        (SPEC, OWN, replace(MASTER, is_up=False), State.MASTER_DOWN),
        (SPEC, OWN, replace(MASTER, is_running=False), State.MASTER_DOWN),
        (SPEC, replace(OWN, is_up=False), MASTER, State.ADMIN_DOWN),
        (SPEC, OWN, MASTER, State.ACTIVE),
    ],
)
def test_state_and_carrier(spec: Spec, own: Link, master: Link | None, state: State) -> None:
    """Each state has its cause, and there is carrier only where frames can leave."""
    plan = make_plan(spec, own, master)
    assert plan.state is state
    assert plan.has_carrier == (state in (State.ACTIVE, State.ADMIN_DOWN))


def test_the_master_gives_mtu_and_address() -> None:
    """MTU and MAC are the master's while there is one."""
    plan = make_plan(SPEC, OWN, replace(MASTER, mtu=9000))
    assert (plan.mtu, plan.address) == (9000, MASTER.address)
    assert make_plan(SPEC, replace(OWN, mtu=1400), None).mtu == 1400


@pytest.mark.parametrize("address", [b"", bytes(6), bytes(4), bytes.fromhex("010000000001")])
def test_an_address_no_device_can_bear_is_not_copied(address: bytes) -> None:
    """A master without an Ethernet address leaves the shaper's as it is."""
    assert make_plan(SPEC, OWN, replace(MASTER, address=address)).address is None


def test_a_master_without_a_link_layer_header() -> None:
    """Over ppp, tun or wireguard nothing is resolved and the header is not counted."""
    plan = make_plan(SPEC, OWN, replace(MASTER, arphrd=ARPHRD_NONE, address=b""))
    assert plan.framing is Framing.BARE
    assert not plan.has_neighbours
    assert plan.settings is not None
    assert plan.settings.unit_bytes == 1500


def test_alias_and_speed_tell_the_truth() -> None:
    """`ip link` and `ethtool` show what the shaper is doing."""
    assert make_plan(SPEC, OWN, MASTER).alias == "shaper of eth1 at 64Kbit"
    assert make_plan(replace(SPEC, master=None), OWN, None).alias == "shaper, detached"
    fast = make_plan(replace(SPEC, options=rate(100_000_000)), OWN, MASTER)
    assert fast.speed_mbit == 100
    assert make_plan(replace(SPEC, options=Options()), OWN, MASTER).speed_mbit is None


def test_default_limit_of_a_fifo_is_50_ms_of_the_rate_and_at_least_ten_frames() -> None:
    """At 64 kbit/s ten frames; at 100 Mbit/s 50 ms are 412 full frames; and it is bounded."""
    fifos = [replace(rate(bits), queue=Queue.FIFO) for bits in (64_000, 10**8, 10**11)]
    limits = [make_settings(fifo, 1500) for fifo in fifos]
    assert [each.limit_packets for each in limits if each] == [10, 412, 10_000]


def test_default_limit_of_fq_codel_leaves_room_for_bursts_and_flows() -> None:
    """A thousand frames, or 250 ms of the rate where that is more; its delay is CoDel's."""
    limits = [make_settings(rate(bits), 1500) for bits in (64_000, 10**8, 10**11)]
    assert [each.limit_packets for each in limits if each] == [1000, 2064, 10_000]


def test_offload_is_off_where_half_a_jiffy_holds_less_than_two_full_frames() -> None:
    """At HZ 1000 two full frames need 48.4 Mbit/s; below that no offload frame ever arrives."""
    assert offload_bytes(rate(48_000_000), 1500) == 0
    assert offload_bytes(rate(49_000_000), 1500) > 0
    assert offload_bytes(rate(10**11), 1500) == 65_536
    assert offload_bytes(replace(rate(10**11), queue=Queue.CLASSIC), 1500) == 0


@given(
    rate_bits=st.integers(8, 10**12),
    mtu=st.integers(576, 9000),
    hz=st.sampled_from([100, 1000, 10_000]),
    burst=st.one_of(st.none(), st.integers(9014, 10**6)),
)
def test_the_bucket_holds_the_largest_frame(
    rate_bits: int, mtu: int, hz: int, burst: int | None
) -> None:
    """Whatever is set: no frame that may pass whole is larger than the bucket."""
    options = Options(rate_bits=rate_bits, burst_bytes=burst, hz=hz)
    settings = make_settings(options, mtu)
    assert settings is not None
    assert mtu + 14 <= settings.unit_bytes <= settings.burst_bytes
    assert offload_bytes(options, mtu) <= settings.unit_bytes


def test_the_bucket_of_a_trace_is_that_of_its_highest_rate() -> None:
    """A wake-up as late as the bucket of a constant rate bears loses nothing at the peak."""
    trace = parse_trace("0,50mbit\n1,200kbit\n9,end\n")
    traced = make_settings(Options(playback=Playback(trace)), 1500)
    constant = make_settings(Options(50_000_000), 1500)
    assert traced is not None
    assert constant is not None
    surplus_bytes = traced.burst_bytes - traced.unit_bytes
    assert surplus_bytes == constant.burst_bytes - constant.unit_bytes


def test_a_bucket_below_a_full_frame_is_refused() -> None:
    """The message names the value and the frame; a bucket of just one frame is accepted."""
    with pytest.raises(InvalidValue, match=r"burst 1513b .* 1514b"):
        check_burst(Options(rate_bits=64_000, burst_bytes=1513), 1500)
    check_burst(Options(rate_bits=64_000, burst_bytes=1514), 1500)


@pytest.mark.parametrize("arphrd", [512, 778, 823])  # ppp, gre, ip6gre
def test_a_master_that_sets_a_header_of_its_own_gets_no_offload_frames(arphrd: int) -> None:
    """Nothing would tell it of segments, so each frame is a packet, however fast it is."""
    spec = replace(SPEC, options=replace(SPEC.options, rate_bits=10**9))
    plan = make_plan(spec, OWN, replace(MASTER, arphrd=arphrd, address=b""))
    assert (plan.framing, plan.offload_bytes) == (Framing.COOKED, 0)
    assert plan.settings is not None
    assert plan.settings.unit_bytes == MASTER.mtu


@pytest.mark.parametrize(
    ("options", "hz"),
    [
        (Options(), 1000),
        (Options(64_000), 500),
        (Options(150 * 10**6 - 1), 500),
        (Options(150 * 10**6), 1000),
        (Options(500 * 10**6 - 1, queue=Queue.FIFO), 1000),
        (Options(500 * 10**6, queue=Queue.FIFO), 2500),
        (Options(2_500_000_000 - 1), 2500),
        (Options(2_500_000_000), 6000),
        (Options(10**7, queue=Queue.CLASSIC), 1000),
        (Options(10**9, queue=Queue.CLASSIC), 1000),
        (Options(10**9, hz=250), 250),
        (Options(64_000, hz=250, has_own_hz=True), 250),
    ],
)
def test_the_clock_is_as_fine_as_the_rate_needs(options: Options, hz: int) -> None:
    """Unless it was set; and the classic queue keeps the jiffies it counts bytes by."""
    assert options.clock_hz == hz
    if settings := make_settings(options, 1500):
        assert settings.jiffy_ns == 10**9 // hz

"""Which devices are ours: by what the kernel keeps of a TAP, and not by its alias alone.

A TAP of ours carries a mark that an administrator has no reason to change: its group (see
`kernel.tap`). Where the kernel took no such mark (in a user namespace without a mapping for it),
or an earlier version made the device, it is ours if it has an owner and our format of frames, and
either our alias or a name from our state file. Anything else that bears a name of ours is foreign:
it is never taken over, and waited for.
"""

from __future__ import annotations

import errno

from shaper.desired.plan import ALIAS_PREFIX
from shaper.errors import KernelRefused
from shaper.kernel.netlink import Netlink
from shaper.kernel.netlink_messages import Message
from shaper.kernel.tap import MARK
from shaper.kernel.tap_info import parse_tap
from shaper.model import Link


def foreign_reason(
    netlink: Netlink, link: Link | None, ifname: str, *, is_expected: bool
) -> str | None:
    """Return why a shaper cannot have a name, as a device bears it that is not ours.

    Args:
        netlink: where the kernel is asked.
        link: the device that was last seen with that name; None if there is none.
        ifname: the name.
        is_expected: it is a name that our state file has.
    """
    if link is None:
        return None
    if link.ifname != ifname:
        return f"{ifname} is another name of {link.ifname}"
    try:
        messages = netlink.link(link.ifindex)
    except KernelRefused as error:
        if error.errno != errno.ENODEV:
            raise
        return None  # it was removed just now, and its event is still under way
    if not messages or is_ours(messages[0], is_expected=is_expected):
        return None
    return f"{ifname} exists already and is no shaper"


def is_ours(message: Message, *, is_expected: bool) -> bool:
    """Whether a device that exists already was made by this daemon or one before it.

    Args:
        message: what the kernel tells of it.
        is_expected: it bears a name that our state file has.
    """
    tap = parse_tap(message)
    if tap is None or not tap.has_our_format:
        return False
    alias = message.get_attr("IFLA_IFALIAS") or ""
    is_named = is_expected or alias.startswith(ALIAS_PREFIX)
    return tap.group == MARK or (tap.owner is not None and is_named)


def is_anothers(netlink: Netlink, link: Link | None) -> bool:
    """Whether a device that another process holds may be the shaper of another daemon.

    Not one without our mark: that is a stranger's, whatever else it shares with ours.
    """
    messages = [] if link is None else netlink.link(link.ifindex)
    taps = [parse_tap(message) for message in messages]
    return all(tap is not None and tap.group == MARK for tap in taps)

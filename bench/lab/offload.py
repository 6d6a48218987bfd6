"""Device features, by the names that `ethtool -k` prints.

A capture is of frames on the wire only if the sender's device does not pass offload frames on
whole, and the receiver's does not glue frames together.
"""

from __future__ import annotations

import contextlib

from pyroute2.ethtool.ioctl import IoctlEthtool

from bench.lab.namespaces import Namespace

AGGREGATION = {"rx-gro", "rx-gro-list", "rx-lro", "rx-udp-gro-forwarding"}


def is_segmentation(name: str) -> bool:
    """Whether a feature makes the device, not the stack, cut large frames to size."""
    return name == "tx-gso-list" or (
        name.startswith("tx-")
        and name.endswith("-segmentation")
        and name != "tx-generic-segmentation"
    )


def set_wire_frames(namespace: Namespace, interface: str) -> None:
    """Make every frame that crosses an interface, either way, one that a wire could carry."""
    with namespace.enter():
        handle = IoctlEthtool(interface)
    with contextlib.closing(handle.sock):
        features = handle.get_features()
        for name, is_active, is_available, *_ in features:
            if is_active and is_available and (is_segmentation(name) or name in AGGREGATION):
                features[name] = False
        handle.set_features(features)

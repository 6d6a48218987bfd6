"""A VLAN device as a master, where the kernel at hand has none."""

from __future__ import annotations

from tests.kernel.test_capture_beside import test_a_vlan_keeps_its_tags

__all__ = ["test_a_vlan_keeps_its_tags"]

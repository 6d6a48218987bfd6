"""A laboratory of network namespaces: traffic in at one end, every frame timed at the other.

Nothing here knows how the shaper works; it is the ruler, so it is tried on the kernel's own
tbf first (`tests/kernel/test_lab.py`).
"""

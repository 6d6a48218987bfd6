"""The shaper daemon: a TAP device whose traffic leaves a real device at a set speed.

This package imports nothing: the forwarder starts from it and has to start fast.
"""

__version__ = "0.1.0"

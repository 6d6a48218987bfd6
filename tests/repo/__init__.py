"""The repository about itself: what may import what, what lies where, whether examples work."""

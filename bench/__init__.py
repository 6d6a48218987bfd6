"""Measuring the shaper from outside: the lab, the demonstration and the comparison with tc."""

"""Faults by the thousand, on request: `make ordeal`. A short form of each is in `make test`."""

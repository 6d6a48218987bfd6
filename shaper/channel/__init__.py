"""The contract between supervisor and forwarder: counters in shared memory, and messages."""

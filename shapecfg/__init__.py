"""The `shapecfg` command. It imports click and the standard library only, to start fast."""

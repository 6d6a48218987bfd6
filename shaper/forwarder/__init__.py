"""The forwarder: the only code a frame meets. Standard library only, no privilege."""

"""What a frame is on the wire. Pure."""

"""The service on a real systemd, booted in a container."""

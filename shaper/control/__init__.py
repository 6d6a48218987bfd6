"""How people reach the daemon: the varlink interface, the listener, who may do what."""

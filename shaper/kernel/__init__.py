"""The kernel's side: TAP devices, packet sockets, links and neighbours over netlink."""

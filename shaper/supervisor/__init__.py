"""The process that holds the privileges: it makes the kernel be as is wanted."""

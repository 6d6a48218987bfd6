"""Against the running kernel, each test in network namespaces of its own."""

"""The tests: unit (pure), kernel (namespaces), system (a real systemd), repo (about itself)."""

"""An in-memory kernel for tests."""

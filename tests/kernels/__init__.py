"""What this machine's kernel may lack: run by `make test-kernels` under another kernel."""

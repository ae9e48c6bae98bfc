"""Arrow's IPC format: files and streams."""

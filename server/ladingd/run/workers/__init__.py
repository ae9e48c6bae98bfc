"""The worker processes, which read and write records."""

"""Observability of the daemon: logs, metrics and traces."""

"""Cleans up after jobs."""

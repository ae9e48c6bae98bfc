"""Calls, channels, credentials."""

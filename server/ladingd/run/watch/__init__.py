"""Sends changes to watchers."""

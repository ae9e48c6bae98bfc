"""Databases as targets and sources."""

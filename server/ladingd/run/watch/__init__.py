"""Tells watchers what changes."""

"""Sends files to a daemon and fetches them."""

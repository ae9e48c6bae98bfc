"""Watches and commands a Lading daemon: the client library and the command line."""

"""Exports of a table into a file."""

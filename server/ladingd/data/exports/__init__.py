"""A table into a file."""

"""A file into a table."""

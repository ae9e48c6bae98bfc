"""From the columns of a file to those of a table."""

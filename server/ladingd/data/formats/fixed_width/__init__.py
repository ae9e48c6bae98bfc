"""Fixed width: each column has its place in the line."""

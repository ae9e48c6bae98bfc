"""JSON: an array of objects."""

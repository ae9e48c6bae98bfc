"""XML: an element that repeats."""

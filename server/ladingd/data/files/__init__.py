"""Files: where they lie, what they are, how they are read."""

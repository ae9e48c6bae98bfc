"""Records that are refused, and why."""

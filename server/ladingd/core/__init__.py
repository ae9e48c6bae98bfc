"""The domain: what a job is and what may happen to it. Standard library only, no input or output."""

"""What `ladingd` does besides serving."""

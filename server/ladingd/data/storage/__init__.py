"""The daemon's own directory for the work of jobs."""

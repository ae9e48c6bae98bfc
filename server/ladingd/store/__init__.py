"""The store: jobs, their changes, journals and chunks, durably in an SQLite file."""

"""The store: keeps jobs with their changes, journals and chunks in an SQLite file."""

"""SQLite, as a target of imports and a source of exports."""

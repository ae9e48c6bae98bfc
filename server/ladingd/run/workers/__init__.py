"""The processes that read and write records."""

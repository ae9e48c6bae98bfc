"""The command line: `lading`."""

"""The Lading daemon: imports and exports in bulk, exactly once, watched live."""

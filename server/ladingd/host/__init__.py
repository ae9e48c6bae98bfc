"""The machine that the daemon runs on."""

"""The proof of exactly once: imports that are killed, cut off and starved, compared with undisturbed ones."""

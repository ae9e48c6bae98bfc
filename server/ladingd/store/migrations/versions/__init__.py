"""One file for each step, numbered in their order. A step that was released never changes."""

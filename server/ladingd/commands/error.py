"""What ends a command of ``ladingd``."""

from __future__ import annotations


class Problem(Exception):
    """What was asked for cannot be; the text says why."""

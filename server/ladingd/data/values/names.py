"""Compares names of columns."""

from __future__ import annotations


def fold(name: str) -> str:
    """A name in lower case, for ASCII letters only: SQLite compares names this way."""
    return name.encode().lower().decode()

"""Compares names of columns."""

from __future__ import annotations


def fold(name: str) -> str:
    """A name without regard to the case of ASCII letters, and of them alone: as SQLite compares names."""
    return name.encode().lower().decode()

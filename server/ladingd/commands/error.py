"""The error that ends a command of ``ladingd``."""

from __future__ import annotations


class CommandError(Exception):
    """The command cannot do what was asked; the text says why and what to do instead."""

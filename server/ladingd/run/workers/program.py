"""Detects whether another version of the program was installed while the daemon runs."""

from __future__ import annotations

from importlib import metadata

NAME = "lading"


def installed() -> str | None:
    """The identity of the program on disk: its version and the digests of its files; None while it is being
    replaced."""
    try:
        distribution = metadata.distribution(NAME)
        return f"{distribution.version}\n{distribution.read_text('RECORD')}"
    except (metadata.PackageNotFoundError, OSError):
        return None


RUNNING = installed()
"""The identity of the program that this process has loaded."""


def replaced() -> bool:
    """Whether another version is installed by now. New workers would load it and could not understand our calls and
    plans."""
    return installed() != RUNNING

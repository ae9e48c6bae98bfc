"""Which program the daemon runs: another one may be installed over it while it runs."""

from __future__ import annotations

from importlib import metadata

NAME = "lading"


def installed() -> str | None:
    """What tells the program on the disk from any other, its version and the digests of its files; None while it is
    being replaced."""
    try:
        distribution = metadata.distribution(NAME)
        return f"{distribution.version}\n{distribution.read_text('RECORD')}"
    except (metadata.PackageNotFoundError, OSError):
        return None


RUNNING = installed()
"""The program that this process has loaded."""


def replaced() -> bool:
    """Whether another program than ours is installed by now. A worker would load that one, and understand neither our
    calls nor our plans."""
    return installed() != RUNNING

"""The limit of open files and connections."""

from __future__ import annotations

import resource

WANTED = 65_536
"""As in the unit. Every client takes one descriptor, and 5,000 clients may watch."""


def allow_many() -> None:
    """Raise the limit of this process as far as it may without privileges. Shells usually set it to 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))

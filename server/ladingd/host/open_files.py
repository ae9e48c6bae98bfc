"""How many files and connections the daemon may have open."""

from __future__ import annotations

import resource

WANTED = 65_536
"""As in the unit. Every client takes one; 5,000 may watch."""


def allow_many() -> None:
    """Raise the limit of this process as far as it may go without a right. Shells mostly give 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))

"""Which errors of the operating system mean that a disk is full."""

from __future__ import annotations

import errno


def says_disk_full(error: OSError) -> bool:
    """Whether there is no space left: on the disk, or in the user's quota."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)

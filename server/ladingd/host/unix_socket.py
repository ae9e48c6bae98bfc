"""The limit of Unix sockets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LONGEST_PATH = 107
"""Bytes in the path of a socket, without the NUL at its end."""


def fits_socket(path: Path) -> bool:
    """Whether a socket can have this path."""
    return len(os.fsencode(path)) <= LONGEST_PATH

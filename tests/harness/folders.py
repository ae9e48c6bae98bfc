"""Folders of tests, which daemons write into."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_TRIES = 50
_PAUSE = 0.1


def remove(folder: Path) -> None:
    """Remove a folder. The workers of a killed daemon may still make files in it for a moment. Raises OSError."""
    for _ in range(_TRIES):
        with suppress(OSError):
            shutil.rmtree(folder)
            return
        time.sleep(_PAUSE)
    shutil.rmtree(folder)

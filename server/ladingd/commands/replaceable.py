"""What commands of ``ladingd`` may write over."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from ladingd.commands.error import CommandError
from ladingd.config.overlap import what_is

if TYPE_CHECKING:
    from pathlib import Path

    from ladingd.config.settings import Settings


def check_replaceable(path: Path, settings: Settings | None, config: Path, *, but: str = "") -> None:
    """See that at a path there is nothing, or a regular file that is none of the daemon's own, or is the one that is
    meant. Raises CommandError."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        mode = stat.S_IFREG  # Nothing is there, or whoever writes finds out.
    if stat.S_ISDIR(mode):
        raise CommandError(f"{path} is a directory: name a file in it")
    if not stat.S_ISREG(mode):
        raise CommandError(f"{path} is not a regular file: choose another file")
    if settings is not None and (what := what_is(path, settings, config)) not in ("", but):
        raise CommandError(f"{path} is {what}: choose another file")

"""Which files the commands of ``ladingd`` may overwrite."""

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
    """Check that a command may write to a path: it is free, or a regular file that is not one of the daemon's own.

    ``but`` names the one file of the daemon that may be overwritten. Raises CommandError.
    """
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        mode = stat.S_IFREG  # The path is free, or the write will fail.
    if stat.S_ISDIR(mode):
        raise CommandError(f"{path} is a directory: name a file in it")
    if not stat.S_ISREG(mode):
        raise CommandError(f"{path} is not a regular file: choose another file")
    if settings is not None and (what := what_is(path, settings, config)) not in ("", but):
        raise CommandError(f"{path} is {what}: choose another file")

"""The rejects that workers have written into a work directory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ladingd.data.rejects.files import GROUPS

if TYPE_CHECKING:
    from pathlib import Path


def rejects_in(path: Path) -> list[dict[str, Any]]:
    """The rejects of a chunk, or those of all chunks if ``path`` is their folder, without the groups."""
    files = sorted(path.glob("*")) if path.is_dir() else [path] * path.exists()
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return [line for line in lines if GROUPS not in line]

"""What can be wrong with the store itself. No caller is to blame for it, and no job: it is no LadingError."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class StoreUnusable(Exception):
    """The store's file cannot be opened, read or written: it is locked, damaged, too new, or no store at all."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"the store {path} cannot be used: {problem}")

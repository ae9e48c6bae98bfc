"""A mapping whose content can be replaced as a whole while it is in use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")


class Reloadable(Mapping[str, T]):
    """A mapping with replaceable content. Every lookup sees the current content. Pickling keeps the present content."""

    def __init__(self, content: Mapping[str, T]) -> None:
        self._content = dict(content)

    def replace(self, content: Mapping[str, T]) -> None:
        """Replace the content. Readers in other threads see the old or the new content, never a mixture."""
        self._content = dict(content)

    def __getitem__(self, name: str) -> T:
        return self._content[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

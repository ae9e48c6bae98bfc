"""What can be replaced as a whole while others hold it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")


class Reloadable(Mapping[str, T]):
    """A mapping that whoever holds it looks up anew each time. Pickled, it is what it is at that moment."""

    def __init__(self, content: Mapping[str, T]) -> None:
        self._content = dict(content)

    def replace(self, content: Mapping[str, T]) -> None:
        """Have other content from now on. Readers in other threads see the old or the new, and no mixture."""
        self._content = dict(content)

    def __getitem__(self, name: str) -> T:
        return self._content[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

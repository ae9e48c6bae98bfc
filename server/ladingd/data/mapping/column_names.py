"""Names of a file's columns in a new table: a database may shorten a name, and reserves some for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ladingd.data.values.names import fold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ladingd.data.databases.target import Target


def kept_names(names: Sequence[str], target: Target) -> list[str]:
    """The column names of a new table, in order. No two are equal, and the same names always give the same result."""
    taken = {fold(name) for name in names if _fits(name, target)}
    kept = []
    for name in names:
        new = name
        if not _fits(name, target):
            new = cut(name + "_" if name in target.reserved_names else name, target.name_bytes)
            number = 1
            while fold(new) in taken:
                number += 1
                new = cut(name, target.name_bytes - len(f"_{number}")) + f"_{number}"
            taken.add(fold(new))
        kept.append(new)
    return kept


def renamed(names: Sequence[str], kept: Sequence[str], target: Target) -> tuple[str, ...]:
    """A sentence for each column that the database cannot call by its own name."""
    return tuple(
        f"column {name!r} becomes {new!r}: "
        + (
            "the database has a column of that name in every table"
            if name in target.reserved_names
            else f"the database keeps {target.name_bytes} bytes of a name"
        )
        for name, new in zip(names, kept, strict=True)
        if name != new
    )


def cut(name: str, size: int) -> str:
    """The longest beginning of a name, in whole characters, that fits into a number of bytes."""
    return name.encode()[:size].decode(errors="ignore")


def _fits(name: str, target: Target) -> bool:
    return name not in target.reserved_names and cut(name, target.name_bytes) == name

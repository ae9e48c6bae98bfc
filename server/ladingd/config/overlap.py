"""Finds roots, databases and files of the daemon that overlap."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from ladingd.config.finding import Severity
from ladingd.config.own_files import daemon_files, databases, own_files
from ladingd.config.settings import missing
from ladingd.config.side_by_side import side_by_side

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ladingd.config.finding import Finding
    from ladingd.config.loader import Source
    from ladingd.config.settings import Settings

STATE_FILES = (
    *("store.db", "store.db-*", "store-*.db.bak", ".store-*", "ballast", "lock"),
    *("ladingd.pid", "ladingd.log", "ladingd.sock*", "daemon.json", ".daemon.json*"),
)
"""Names of the files in the daemon's state directory; directories are not listed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Spot:
    """Where a path leads. ``file`` and ``directory`` are device and inode, or None if they do not exist."""

    place: Path
    file: tuple[int, int] | None
    directory: tuple[int, int] | None

    @classmethod
    def of(cls, path: Path) -> _Spot:
        place = Path(os.path.realpath(path))
        return cls(place=place, file=_identity(place), directory=_identity(place.parent))

    def is_same(self, other: _Spot) -> bool:
        """Whether both are the same file, under any name."""
        return self.place == other.place or (self.file is not None and self.file == other.file)

    def has_other_name(self, other: _Spot) -> bool:
        """Whether the file has two names, and not one name that two paths lead to."""
        return (self.directory, self.place.name) != (other.directory, other.place.name)


def overlaps(settings: Settings, source: Source, places: Mapping[str, Path]) -> Iterator[Finding]:
    """Findings about roots, whose real paths are ``places``, and about connections."""
    found = databases(settings)
    spots = side_by_side(_Spot.of, found)
    own = daemon_files(settings, source.file)
    own_spots = {what: _Spot.of(path) for what, path in own.items()}
    there = {what: spot for what, spot in own_spots.items() if spot.file is not None}
    state = _Spot.of(settings.state_dir)
    for root, place in places.items():
        for what, spot in _databases_first(spots, there):
            # The state directory has its own error.
            if spot.place.is_relative_to(place) and not spot.place.is_relative_to(state.place):
                message = (
                    f"{what} ({spot.place}) lies beneath it: jobs that name this file are refused; move one of them"
                )
                yield source.finding(Severity.WARNING, ("roots", root), message)
    for name, spot in spots.items():
        if what := _own(spot, state, own_spots):
            message = f"{found[name]} is {what}: use another file for the database"
            yield source.finding(Severity.ERROR, ("connections", name, "url"), message)
    for one, other in combinations(spots, 2):
        if not spots[one].is_same(spots[other]):
            continue
        if spots[one].has_other_name(spots[other]):
            message = (
                f"the connection {one} leads to the same database by another name, {spots[one].place}: "
                "two names have two journals, which damages the database; give both connections the same path"
            )
            yield source.finding(Severity.ERROR, ("connections", other, "url"), message)
        else:
            message = f"it leads to the same database as the connection {one}: whoever may use one can use both"
            yield source.finding(Severity.WARNING, ("connections", other, "url"), message)


def what_is(path: Path, settings: Settings, config: Path) -> str:
    """Which of the daemon's own files a path leads to; empty if it is none of them. A new file in the state directory
    is not one of them."""
    spot, state = _Spot.of(path), _Spot.of(settings.state_dir)
    own = {what: _Spot.of(each) for what, each in own_files(settings, config).items()}
    return _own(spot, state, own)


def _databases_first(databases: Mapping[str, _Spot], own: Mapping[str, _Spot]) -> Iterator[tuple[str, _Spot]]:
    yield from ((f"the database of connection {name!r}", spot) for name, spot in databases.items())
    yield from own.items()


def _own(spot: _Spot, state: _Spot, own: Mapping[str, _Spot]) -> str:
    """Which file of the daemon a path leads to; empty if it is none of them."""
    for what, other in own.items():
        if spot.is_same(other):
            return what
    if spot.place.is_relative_to(state.place):
        inner = spot.place.relative_to(state.place)
        if len(inner.parts) > 1:
            return f"in a directory that the daemon clears ({spot.place.parent})"
        if _is_state_file(inner.name):
            return f"the daemon's own file {spot.place}"
    if spot.file is not None and not missing(state.place):
        with os.scandir(state.place) as entries:
            for entry in entries:
                if _is_state_file(entry.name) and _identity(Path(entry)) == spot.file:
                    return f"another name of the daemon's own file {entry.path}"
    return ""


def _is_state_file(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in STATE_FILES)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino

"""The content of a compressed or converted file, as a file in the job's directory."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from ladingd.core.errors import SourceChanged, SourceUnreadable
from ladingd.data.files.compression import Damaged
from ladingd.data.files.content import unpacked, whole_lines
from ladingd.data.files.roots import Source
from ladingd.data.storage.work_dir import draft_of, sync_directory, sync_file, write_durably, writing

if TYPE_CHECKING:
    from pathlib import Path

    from ladingd.core.plan import Content

_BUFFER = 1 << 20


def make_spool(source: Source, content: Content, path: Path) -> None:
    """Write the content of a file into the spool, unless it is complete already.

    It appears under its name when it is complete and durable. The content of a damaged file ends with the last whole
    line before the damage, and ``damage_of`` tells the damage. Raises DiskFull, DestinationRefused, SourceChanged.
    """
    if path.exists():
        return
    state, draft = source.state, draft_of(path)
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_drafts(path)
    try:
        damage = _write(source, content, draft)
        if source.state != state:
            raise SourceChanged(f"{source.path} was written while it was read: start the job again when it is complete")
        with writing(path.parent):
            if damage:
                write_durably(_damage_path(path), [damage.encode()])
            draft.replace(path)
            sync_directory(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def open_spool(path: Path, shown: str) -> Source:
    """Open a spool that was made. ``shown``: the path of the original, for messages. Raises SourceUnreadable."""
    try:
        return Source(descriptor=os.open(path, os.O_RDONLY | os.O_CLOEXEC), path=shown)
    except OSError as error:
        raise SourceUnreadable(f"the spooled content of {shown} cannot be read: {error.strerror}") from error


def damage_of(path: Path) -> str:
    """What is wrong with the original of a spool; empty: nothing."""
    try:
        return _damage_path(path).read_text()
    except FileNotFoundError:
        return ""


def remove_spool(path: Path) -> None:
    """Remove a spool that nobody needs any more; ``begin`` would make it again."""
    with writing(path.parent):
        path.unlink(missing_ok=True)


def _write(source: Source, content: Content, draft: Path) -> str:
    """Write the content; return the damage at its end."""
    damage, size, lines = "", 0, 0
    pieces = unpacked(source, content)
    with writing(draft.parent):
        file = draft.open("wb", _BUFFER)
    with file:
        while True:
            try:
                piece = next(pieces, None)
            except Damaged as damaged:
                damage, piece = str(damaged), None
            if piece is None:
                break
            with writing(draft.parent):
                file.write(piece)
            if end := whole_lines(piece):
                lines = size + end
            size += len(piece)
        with writing(draft.parent):
            file.flush()
            if damage:
                file.truncate(lines)
            sync_file(file)
    return damage


def _damage_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.damage")


def _remove_drafts(path: Path) -> None:
    """Remove what processes that died have left."""
    for draft in path.parent.glob(f".{path.name}.*"):
        with suppress(FileNotFoundError):
            draft.unlink()

"""Coordinates chunks that are written at the same time and have keys in common.

A transaction that inserts a key waits for every open transaction that has inserted the same key. So chunks with common
keys would run one after the other, or deadlock. Each chunk in which violators are likely therefore publishes its keys,
and holds back records whose keys an earlier chunk has until that chunk has ended.

This only saves time: the table's own indexes decide which record gets a key.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ladingd.data.storage.work_dir import WorkDir, draft_of, writing
from ladingd.data.values.positions import Positions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ladingd.data.databases.postgres.catalog import PgColumn
    from ladingd.data.databases.postgres.constraints import Unique
    from ladingd.data.databases.postgres.session import Session

RECENT = 8
"""A violator makes violators likely in this many following chunks."""

_SEPARATOR = "\x1f"


@dataclass(frozen=True, kw_only=True, slots=True)
class InFlight:
    """The chunks of a job that are being written on this machine."""

    work_dir: WorkDir
    job_uid: str

    def likely(self, ordinal: int) -> bool:
        """Whether violators are likely in a chunk."""
        return ordinal - self._noted() <= RECENT

    def remember(self, ordinal: int) -> None:
        """Note that a chunk has violators. A note about a chunk near it is enough, because each takes a lock."""
        if abs(ordinal - self._noted()) <= RECENT // 2:
            return
        with self._alone():
            draft = draft_of(self._mark)
            draft.write_text(str(ordinal))
            draft.replace(self._mark)

    def _noted(self) -> int:
        """The chunk of the last note."""
        try:
            return int(self._mark.read_text())
        except FileNotFoundError:
            return -2 * RECENT

    @contextmanager
    def entered(self, session: Session, ordinal: int, keys: pa.Table | None) -> Iterator[Common]:
        """Publish a chunk's keys until the end of the ``with``. Yields the rows whose keys other chunks have too.

        ``keys`` is None if only the server can compare them. The transaction must end within the ``with``.
        """
        session.run("SELECT pg_advisory_xact_lock(%s)", (self._lock(ordinal),))
        own = self._directory / f"{ordinal}.arrow"
        with self._alone():
            others = {int(path.stem): path for path in self._directory.glob("*.arrow") if path != own}
            common = _common(keys, others)
            draft = draft_of(own)
            with pa.OSFile(str(draft), "wb") as file, pa.ipc.new_file(file, _shown(keys).schema) as writer:
                writer.write(_shown(keys))
            draft.replace(own)  # A rename, so that other processes never see half of the file.
        try:
            yield common
        finally:
            own.unlink(missing_ok=True)

    def wait(self, session: Session, ordinals: Sequence[int]) -> None:
        """Wait until these chunks have ended."""
        for ordinal in ordinals:
            session.run("SELECT pg_advisory_xact_lock_shared(%s)", (self._lock(ordinal),))

    def clear(self) -> None:
        """Forget the chunks of earlier attempts."""
        if self._directory.exists():
            with self._alone():
                for path in self._directory.glob("*.arrow"):
                    path.unlink()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self.work_dir.locked(f"keys of {self.job_uid}"), writing(self._directory):
            self._directory.mkdir(parents=True, exist_ok=True)
            yield

    def _lock(self, ordinal: int) -> int:
        digest = hashlib.sha256(f"{self.job_uid} {ordinal}".encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)

    @property
    def _directory(self) -> Path:
        return self.work_dir.job(self.job_uid) / "keys"

    @property
    def _mark(self) -> Path:
        return self._directory / "violators"


@dataclass(frozen=True, kw_only=True, slots=True)
class Common:
    """The rows of a chunk that have a key of another chunk in flight, and those chunks."""

    rows: Positions | None
    """The rows; None for all."""
    chunks: tuple[int, ...]


def key_table(uniques: Sequence[Unique], columns: Sequence[PgColumn], records: pa.RecordBatch) -> pa.Table | None:
    """The keys of each row, with a column for each unique index; None if only the server can compare keys."""
    places = {column.name: place for place, column in enumerate(columns)}
    keys = {}
    for unique in uniques:
        parts = []
        for name in unique.plain:
            column, values = columns[places[name]], records.column(places[name])
            if column.collation or not column.type.equal_alike(values.type):
                return None
            parts.append(values)
        if not parts:
            return None
        keys[unique.name] = parts[0] if len(parts) == 1 else _joined(parts)
    return pa.table(keys) if keys else None


def _joined(parts: Sequence[pa.Array]) -> pa.Array:
    # Two keys may give the same text. Then a record is held back unnecessarily.
    texts = [part.cast(pa.binary() if pa.types.is_fixed_size_binary(part.type) else pa.string()) for part in parts]
    return pc.binary_join_element_wise(*(text.cast(pa.binary()) for text in texts), _SEPARATOR.encode())


def _shown(keys: pa.Table | None) -> pa.Table:
    return keys if keys is not None else pa.table({})


def _common(keys: pa.Table | None, others: dict[int, Path]) -> Common:
    if not others:
        return Common(rows=np.empty(0, np.int64), chunks=())
    if keys is None:
        return Common(rows=None, chunks=tuple(others))
    held = np.zeros(keys.num_rows, np.bool_)
    chunks = []
    for ordinal, path in others.items():
        try:
            theirs = pa.ipc.open_file(pa.BufferReader(path.read_bytes())).read_all()
        except FileNotFoundError:
            continue  # The chunk has ended. Later statements see what it committed.
        if theirs.schema != keys.schema:
            return Common(rows=None, chunks=tuple(others))
        here = np.zeros(keys.num_rows, np.bool_)
        for name in keys.schema.names:
            found = pc.is_in(keys.column(name), value_set=theirs.column(name), skip_nulls=True)
            here |= found.to_numpy()
        if here.any():
            chunks.append(ordinal)
            held |= here
    return Common(rows=np.flatnonzero(held), chunks=tuple(chunks))

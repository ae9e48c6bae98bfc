"""What a spec comes to against the real source and target, and the slices it is done in.

A plan is made before a job is stored, and written down with it: every attempt of the job works after the same plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Literal

from ladingd.core.bill import Counts
from ladingd.core.spec import File, Table

HEAD = 64 << 10
"""How many bytes the head and the tail of a file have, as a rule."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fingerprint:
    """What tells a file from a changed one: its size in bytes, and hashes (hex) of its head and tail."""

    size: int
    head: str
    tail: str
    reach: int = HEAD
    """How many bytes the head has: all that stand before the first record, and more."""
    modified: int = field(default=0, compare=False)
    """When it was written last, in nanoseconds since 1970. By itself it only says that a closer look is needed."""
    state: str = field(default="", compare=False)
    """Which inode it is and when that changed last; empty in plans of earlier versions. It says the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """How a file's records are written.

    The format gives ``details`` their meaning; nothing else reads them. It also defines the unit of ``start`` and
    ``end`` in plans and chunks of files: bytes in all text formats.
    """

    format: str
    """The name of a format: ``csv``."""
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column on its way from source to target. ``type`` is spelled as in the API: ``decimal(10,2)``."""

    source: str
    target: str
    type: str
    nullable: bool = True
    inferred: bool = False
    """The type was guessed from some of the values: one that it would change is refused, not changed."""


class Phase(StrEnum):
    """A step of a job. The chunks of a phase start when all chunks of the phase before it are committed."""

    LOAD = "LOAD"
    """Records move from the source into the target."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportPlan:
    """A file into a table. The records stand in the bytes from ``start`` to ``end`` of the file."""

    keeps_sessions: ClassVar[bool] = False
    """An attempt keeps sessions in a database between its chunks. `Transfer.committed` ends them."""
    kind: Literal["import"] = "import"
    file: File
    fingerprint: Fingerprint
    layout: Layout
    columns: tuple[Column, ...]
    target: Table
    create_table: bool
    """The table was not there: it is made from the columns when the job begins."""
    start: int
    end: int
    first_line: int
    """The physical line that ``start`` stands on."""
    chunk_bytes: int
    detected: str = ""
    """How the file is read, in one line: delimiter, quote, header, encoding, table and columns."""
    notes: tuple[str, ...] = ()
    """What people should know before they start: a column whose type does not fit some of the values."""
    phases: tuple[Phase, ...] = (Phase.LOAD,)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportPlan:
    """A table into a file. The rows have keys from ``start`` up to, but not including, ``end``."""

    keeps_sessions: ClassVar[bool] = True
    kind: Literal["export"] = "export"
    source: Table
    columns: tuple[Column, ...]
    key: str | None
    """What the ranges are ranges of. None: the table has nothing usable, the export is one chunk."""
    file: File
    layout: Layout
    overwrite: bool
    start: int
    end: int
    chunk_keys: int
    consistent: bool = False
    """The file shows one moment of the table. An export that is interrupted starts over."""
    notes: tuple[str, ...] = ()
    identity: str = ""
    """By what the database tells the table from another one of its name. Plans of older versions have none."""
    phases: tuple[Phase, ...] = (Phase.LOAD,)


Plan = ImportPlan | ExportPlan


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """A slice of the source: bytes ``start`` to ``end`` of a file, keys ``start`` to ``end`` of a table.

    ``records`` is how many records it holds where that is known beforehand (files), ``first_record`` and
    ``first_line`` count from 1. ``refused`` is set where the slice is one record that cannot be read as one: its
    code, as a reject bears it. ``digest`` tells the bytes of a slice from changed ones, where it was taken.
    """

    ordinal: int
    start: int
    end: int
    first_record: int = 1
    first_line: int = 1
    records: int | None = None
    refused: str | None = None
    digest: str | None = None
    phase: int = 0
    """The phase of the plan that the chunk belongs to, counted from 0. Ordinals continue across phases."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CommittedChunk:
    """What the ledger knows of a chunk: it is done, with these counts."""

    ordinal: int
    counts: Counts

"""The plan of a job, made from its spec and the real source and target, and the chunks that carry it out.

A plan is made before its job is stored, and is stored with it. Every attempt of the job follows the same plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import ClassVar, Literal

from ladingd.core.bill import Counts
from ladingd.core.spec import Doubles, Duplicates, Enumeration, File, Operation, Table

HEAD = 64 << 10
"""The usual number of bytes of a file's head, and of its tail."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fingerprint:
    """Detects changes of a file by its size in bytes and the hashes (hex) of its head and tail."""

    size: int
    head: str
    tail: str
    reach: int = HEAD
    """The number of bytes of the head. It covers everything before the first record."""
    modified: int = field(default=0, compare=False)
    """The modification time, in nanoseconds since 1970. A difference only means that the file must be hashed again."""
    state: str = field(default="", compare=False)
    """The inode and its change time; empty in plans of earlier versions. A difference means the same."""


UTF8 = "utf-8"

_MERGE_SHARE = 3
"""How many times as long as the load a merge takes, roughly."""

UNKNOWN_END = 1 << 62
"""The end of content that was not read to its end: of a compressed file, before an attempt has unpacked it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """How the bytes of a file become the text that its format reads."""

    compression: str = ""
    """The name of a codec, such as ``gzip``; empty: none."""
    member: str = ""
    """The file in an archive."""
    encoding: str = UTF8
    """The name of the codec in Python."""
    spooled: bool = False
    """Every attempt reads the content from a file in the work directory, which ``begin`` makes. ``start`` and ``end``
    of plan and chunks are places in that file."""
    converted: bool = False
    """The spooled file is UTF-8, whatever the encoding of the original. Otherwise each chunk is converted."""

    @property
    def chunk_encoding(self) -> str:
        """The encoding of the bytes that chunks are cut from."""
        return UTF8 if self.converted else self.encoding


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The physical format of a file's records.

    Only the format reads ``details``. The format also defines the unit of ``start`` and ``end`` in plans and chunks of
    files: bytes in all text formats.
    """

    format: str
    """The name of a format, such as ``csv``."""
    details: Mapping[str, str] = field(default_factory=dict)


class Provenance(StrEnum):
    """A column that says where a row comes from, by its name in the table."""

    JOB = "lading_job"
    FILE = "lading_file"
    LINE = "lading_line"
    TIME = "lading_time"

    @property
    def what(self) -> str:
        """What the column holds."""
        return {
            Provenance.JOB: "uid of the job",
            Provenance.FILE: "path of the file",
            Provenance.LINE: "number of the line",
            Provenance.TIME: "time of the plan",
        }[self]


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """A column of the files of an import, whether or not it is imported."""

    name: str
    type: str
    """The type as which the format reads values, if it has typed ones, and that expressions see."""
    notation: str = ""
    inferred: bool = False
    """The type was inferred from some of the values."""
    used: bool = True
    """It is imported, or an expression reads it. A format may leave out the values of others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Filling:
    """How values are made before they are converted to the type of their column."""

    transformations: tuple[str, ...] = ()
    """What is done to the text of a value, in this order."""
    null_words: tuple[str, ...] = ()
    """The null words of this column, besides those of all columns."""
    default: str | None = None
    """What an empty field becomes, written as the values are."""
    lookup: str = ""
    """The name of the enumeration that gives the values."""
    expression: str = ""
    """What calculates the values. Empty: they are those of the source."""

    @property
    def prepares(self) -> bool:
        """Whether values are changed before they are converted."""
        return bool(self.transformations or self.lookup)


NO_FILLING = Filling()


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column on its way from source to target. ``type`` is spelled as in the API: ``decimal(10,2)``."""

    source: str
    """The name in the source; of a calculated column, the name in the target."""
    target: str
    type: str
    nullable: bool = True
    defaulted: bool = False
    """An empty field becomes the table's default. The column may not be empty then."""
    declared: str = ""
    """The type of the existing column as the database spells it. Empty in plans of older versions."""
    added: bool = False
    """The table lacks it: the job adds it before the first record is written."""
    inferred: bool = False
    """The type was inferred from some of the values. A value that it would alter is rejected instead."""
    notation: str = ""
    """How the values are written, as it is spelled after the type: ``DD/MM/YYYY``. Empty: the type's default."""
    length: int = 0
    """The most characters of a text in the source. 0: the database declares none."""
    filling: Filling | None = None
    """None: the values of the source are converted, and nothing else."""
    provenance: Provenance | None = None
    """What the job writes into the column by itself. Such columns are the last ones of a plan."""

    @property
    def filled(self) -> Filling:
        """What becomes of values besides their conversion."""
        return self.filling or NO_FILLING

    @property
    def from_file(self) -> bool:
        """Whether the values are those of a column of the file. Otherwise they are calculated."""
        return not self.filled.expression and self.provenance is None


class Phase(StrEnum):
    """A step of a job. The chunks of a phase start when all chunks of the phase before it are committed."""

    LOAD = "LOAD"
    """Records move from the source into the target, or into the job's staging beside it."""
    MERGE = "MERGE"
    """Staged records move into the table, slice by slice."""


class Moment(StrEnum):
    """When a hook runs."""

    BEFORE = "before"
    """Before the first record of the job is written."""
    AFTER = "after"
    """After the last one was written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedFile:
    """A file of an import, and how it is read. The records are the bytes from ``start`` to ``end`` of its content."""

    location: File
    name: str
    """The file in messages: its path, behind which that of a member of an archive stands."""
    fingerprint: Fingerprint
    layout: Layout
    content: Content = Content()
    start: int
    end: int
    first_line: int
    """The physical line of ``start``."""
    order: tuple[int, ...] = ()
    """The place in the plan of each column of the file. Empty: the file has the columns of the plan in their order."""

    @property
    def path(self) -> str:
        """The path of the file, as the spec has it, and that of a member of an archive."""
        return f"{self.location.path}/{self.content.member}" if self.content.member else self.location.path


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """The part of the files that is imported. The records outside are filtered."""

    skip: int = 0
    """How many records to leave out at the beginning, over all files."""
    limit: int = 0
    """The most records after those; 0: all."""
    first_line: int = 0
    """The first line of each file; 0: the first of all."""
    last_line: int = 0
    """The last line of each file; 0: the last of all."""

    @property
    def is_open(self) -> bool:
        """Whether all records are in it."""
        return not (self.skip or self.limit or self.first_line or self.last_line)

    def is_behind(self, chunk: Chunk) -> bool:
        """Whether a chunk and all that follow in its file are behind the window."""
        return bool(
            (self.limit and chunk.earlier_records + chunk.first_record > self.skip + self.limit)
            or (self.last_line and chunk.first_line > self.last_line)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Merge:
    """How staged records get into the table: the reconciliation of a spec, with nothing left open.

    Records with equal keys are in the same slice. The outcome does not depend on the number of slices.
    """

    operation: Operation
    key: tuple[str, ...]
    second_key: tuple[str, ...] = ()
    doubles: Doubles
    duplicates: Duplicates
    keep_if_source_empty: tuple[str, ...] = ()
    only_if_target_empty: tuple[str, ...] = ()
    on_insert_only: tuple[str, ...] = ()
    slices: int = 1
    sliced_by: tuple[str, ...] = ()
    """The columns of the key whose values decide on the slice. Empty: there is one slice."""
    bounds: tuple[int, ...] = ()
    """The greatest value of each slice but the last, if one column of integers decides. Empty: hashes decide."""
    replace: bool = False
    """The records take the place of rows: those that no record has the key of are deleted; without a key, all rows."""
    rows: str = ""
    """The rows that are replaced: a condition in the SQL of the database, in which ``t`` is the table. Empty: all."""
    records: str = ""
    """The same condition about a record ``s``. Others are rejected."""

    @property
    def inserts(self) -> bool:
        """Whether records that the table lacks become rows."""
        return self.operation in (Operation.INSERT, Operation.UPDATE_OR_INSERT)

    @property
    def updates(self) -> bool:
        """Whether rows get the values of records."""
        if self.operation in (Operation.UPDATE, Operation.UPDATE_OR_INSERT, Operation.INSERT):
            return self.duplicates is Duplicates.UPDATE
        return False

    @property
    def deletes(self) -> bool:
        """Whether rows of records are deleted."""
        return self.operation is Operation.DELETE and self.duplicates is Duplicates.UPDATE

    @property
    def makes_unique(self) -> bool:
        """Whether all rows that it makes have a key, and each has another one."""
        return self.inserts and bool(self.key) and not self.second_key

    def decides_on(self, column: str) -> bool:
        """Whether an empty field of a column has a meaning for the merge, so that it must stay empty until then."""
        return column in {*self.key, *self.second_key, *self.keep_if_source_empty}

    def changed(self, column: str) -> bool:
        """Whether an update may write a column."""
        return column not in {*self.key, *self.on_insert_only}


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportPlan:
    """Imports files into a table. Each file is a phase. If the records are staged, the last phase merges them."""

    keeps_sessions: ClassVar[bool] = False
    """Whether an attempt keeps database sessions between its chunks. `Transfer.committed` ends them."""
    kind: Literal["import"] = "import"
    files: tuple[PlannedFile, ...]
    columns: tuple[Column, ...]
    target: Table
    create_table: bool
    """The table is missing: it is created from the columns when the job begins."""
    chunk_bytes: int
    time: str = ""
    """When the plan was made, for the columns of provenance: ``2026-03-29 01:00:00+00:00``."""
    primary_key: tuple[str, ...] = ()
    """The key of a table that the job creates."""
    detected: str = ""
    """One line about how the first file is read: delimiter, quote, header, encoding, table and columns."""
    notes: tuple[str, ...] = ()
    """What users should know before they start the job: for example a column whose type does not fit some values."""
    null_words: tuple[str, ...] = ()
    """The null words of all columns."""
    typed_null_words: tuple[str, ...] = ()
    """The null words of the columns that are not text."""
    fields: tuple[Field, ...] = ()
    """The columns of the files, in the order of the first one. Empty in plans of older versions, whose ``columns`` are
    those of the files."""
    ignore_extra: bool = False
    """Fields of a record that are none of these are left out. Otherwise such a record is rejected."""
    filter: str = ""
    """An expression. Only records for which it is true are imported; the others are filtered."""
    window: Window = Window()
    variables: Mapping[str, str] = field(default_factory=dict)
    """What expressions call ``$name``. ``today`` and ``now`` are those of the plan."""
    enumerations: Mapping[str, Enumeration] = field(default_factory=dict)
    phases: tuple[Phase, ...] = (Phase.LOAD,)
    before: tuple[str, ...] = ()
    """The SQL of the hooks that run once before the first record is written."""
    after: tuple[str, ...] = ()
    """The SQL of the hooks that run once after the last one was written."""

    merge: Merge | None = None
    """None: chunks go straight into the table."""

    @property
    def keeps_work(self) -> bool:
        """Whether a job that is cancelled leaves something that only its continuation would need."""
        return self.merge is not None or any(file.content.spooled for file in self.files)

    def hooks(self, moment: Moment) -> tuple[str, ...]:
        """The hooks of a moment, in order."""
        return self.before if moment is Moment.BEFORE else self.after

    @property
    def mapped(self) -> ImportPlan:
        """The plan without the columns of provenance."""
        columns = tuple(column for column in self.columns if column.provenance is None)
        return self if len(columns) == len(self.columns) else replace(self, columns=columns)

    @property
    def added(self) -> tuple[Column, ...]:
        """The columns that the job adds to the table."""
        return tuple(column for column in self.columns if column.added)

    @property
    def file_columns(self) -> tuple[Field, ...]:
        """The columns of the files, in the order in which a format gives them."""
        return self.fields or tuple(Field(name=column.source, type=column.type) for column in self.columns)

    @property
    def file(self) -> PlannedFile:
        """The only file, of a plan that has only one."""
        (file,) = self.files
        return file

    def requires(self, column: Column) -> bool:
        """Whether a record with an empty field in a column is rejected because the table takes no such row."""
        if column.nullable or column.defaulted:
            return False
        merge = self.merge
        if merge is None:
            return True
        if merge.decides_on(column.target):
            return False
        return merge.inserts or (merge.updates and merge.changed(column.target))

    def takes_default(self, column: Column) -> bool:
        """Whether the table's default replaces empty fields of a column before the records are written."""
        return column.defaulted and not (self.merge is not None and self.merge.decides_on(column.target))

    def part(self, phase: int) -> ImportPlan:
        """The import of one file: the plan of its chunks, with the fields in the order of the file."""
        file, fields = self.files[phase], self.file_columns
        fields = tuple(fields[place] for place in file.order) if file.order else fields
        return replace(self, files=(file,), fields=fields, phases=(self.phases[phase],))

    def ending(self, end: int) -> ImportPlan:
        """The same, with another end of the only file."""
        return replace(self, files=(replace(self.file, end=end),))

    def range(self, phase: int) -> tuple[int, int]:
        """Where the chunks of a phase begin and end: in the units of the file's format, or the slices of the merge."""
        if self.merge is not None and self.merges(phase):
            return 0, self.merge.slices
        return self.files[phase].start, self.files[phase].end

    @property
    def loads(self) -> int:
        """How many phases read a file."""
        return len(self.files)

    def merges(self, phase: int) -> bool:
        """Whether a phase merges staged records. Otherwise it reads a file."""
        return self.phases[phase] is Phase.MERGE

    def title(self, phase: int) -> str:
        """What a phase works on."""
        return f"merge into {self.target.table}" if self.merges(phase) else self.files[phase].name

    def size(self, phase: int) -> int:
        """The share of a phase in the progress of the job: the size of its file in bytes. A merge takes longer than
        all files."""
        if self.merges(phase):
            return _MERGE_SHARE * sum(file.fingerprint.size for file in self.files)
        return self.files[phase].fingerprint.size


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportPlan:
    """Exports a table into a file. The rows have keys from ``start`` up to, but not including, ``end``."""

    keeps_sessions: ClassVar[bool] = True
    keeps_work: ClassVar[bool] = True
    kind: Literal["export"] = "export"
    source: Table
    columns: tuple[Column, ...]
    key: str | None
    """The column whose values ``start`` and ``end`` are. None: the table has no usable column, so the export is one
    chunk."""
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
    """The database's identity of the table, which another table of the same name lacks. Empty in plans of older
    versions."""
    phases: tuple[Phase, ...] = (Phase.LOAD,)

    @property
    def added(self) -> tuple[Column, ...]:
        """None: an export changes no table."""
        return ()

    def hooks(self, moment: Moment) -> tuple[str, ...]:
        """None: an export has no hooks."""
        return ()

    def range(self, phase: int) -> tuple[int, int]:
        """Where the chunks of a phase begin and end."""
        return self.start, self.end

    @property
    def loads(self) -> int:
        """How many phases read the source."""
        return len(self.phases)

    def merges(self, phase: int) -> bool:
        """Whether a phase merges staged records: never in an export."""
        return False

    def title(self, phase: int) -> str:
        """What a phase works on."""
        return self.source.table

    def size(self, phase: int) -> int:
        """The number of keys of a phase: its share in the progress of the job."""
        return self.end - self.start


Plan = ImportPlan | ExportPlan


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """A slice of the source: bytes ``start`` to ``end`` of a file, or keys ``start`` to ``end`` of a table.

    ``records`` is the number of records if it is known beforehand (files). ``first_record`` and ``first_line`` count
    from 1. ``refused`` is the reject code of a slice that is one unreadable record. ``digest`` is the digest of the
    bytes, if it was taken.
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
    earlier_records: int = 0
    """How many records the phases before this one have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CommittedChunk:
    """A committed chunk in the ledger, with its counts."""

    ordinal: int
    counts: Counts

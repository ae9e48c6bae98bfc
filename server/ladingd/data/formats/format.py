"""What a file format provides: detection, cutting, reading, writing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, ClassVar

import pyarrow as pa

from ladingd.core.plan import Layout
from ladingd.data.files.digest import digest_all
from ladingd.data.rejects.fault import Fault
from ladingd.data.values.positions import Positions
from ladingd.data.values.types import FieldType

if TYPE_CHECKING:
    from ladingd.core.plan import Chunk, Column, ImportPlan
    from ladingd.core.spec import ExportSpec, ImportSpec
    from ladingd.data.files.roots import Source

UNKNOWN_LINE = -1

SAMPLE = 8 << 10
"""The bytes at the beginning of a file that are enough to recognise its format."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """What a format finds at the beginning of a file."""

    layout: Layout
    start: int
    """Where the first record begins, in the unit of the format."""
    end: int
    """Where the last record ends."""
    first_line: int
    """The line, counted from 1, that ``start`` is in."""
    names: Sequence[str] = ()
    """The names of the columns. Empty: the file has no record and no header."""
    named: bool = True
    """The file itself names its columns. Otherwise their position identifies them."""
    columns: Sequence[pa.Array] = ()
    """A sample of the records: for each column an array of text or of typed values."""
    lines: Sequence[int] = ()
    """The line of each record in the sample; 0 if the format has no lines, `UNKNOWN_LINE` if nobody counted them."""
    whole: bool = False
    """The sample has all records of the file."""
    types: Mapping[str, FieldType] = field(default_factory=dict)
    """The types of the columns that the format itself declares, by column name."""
    inferred: bool = False
    """These types come from the sample: the format declares one for each value, and none for a column."""
    raw: Sequence[bytes] = ()
    """The records of the sample as the file has them, if the format learns from more of them."""
    detected: Mapping[str, str] = field(default_factory=dict)
    """What people are told about the layout: ``{"delimiter": "comma"}``."""
    decimal_mark: str = ""
    """The decimal mark of numbers such as ``1,250``, if the format tells it."""
    notes: tuple[str, ...] = ()
    """What people should know about the beginning of the file."""


class Origins(ABC):
    """Where the records of a chunk come from. Rejects ask for it; good records do not pay for it."""

    @abstractmethod
    def lines(self, records: Positions) -> Positions:
        """The line of the file that each record begins in; 0 if the format has no lines."""

    @abstractmethod
    def raw(self, records: Positions) -> pa.Array:
        """The text of each record as the file has it, without its line end. ``records`` are in order."""

    @abstractmethod
    def texts(self, records: Positions, column: int) -> pa.Array:
        """The text of one field of each record. A missing field is empty. ``records`` are in order and well formed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """The records of one chunk, before conversion to the types of the target.

    Invariant: every record of the chunk is a row, has a fault, or is empty.
    """

    columns: Sequence[pa.Array]
    """One array for each column of the plan: text, bytes that are not all UTF-8, or typed values. Null: no value."""
    indexes: Positions
    """The record of the chunk, counted from 0, that each row is."""
    origins: Origins
    faults: Sequence[Fault] = ()
    """The records that are refused."""
    warnings: Sequence[Fault] = ()
    """What people should know about records that are not refused."""
    empty: int = 0
    nul: bool = False
    """Values may contain NUL bytes."""
    nulled: bool = False
    """The null words of all columns are already null where they are not quoted, so that quoted ones stay text."""


class Writer(ABC):
    """Writes the rows of an export in one layout."""

    delimited: ClassVar[bool] = False
    """Records are delimited text, which a database may write by itself."""

    appendable: ClassVar[bool] = True
    """Header, the records of all chunks and footer, one after the other, are the file. Otherwise ``assemble`` makes the
    file of header and records."""

    @abstractmethod
    def header(self) -> bytes:
        """What the file begins with."""

    @abstractmethod
    def records(self, columns: Sequence[pa.Array]) -> list[bytes | memoryview]:
        """The records of some rows, in pieces. ``columns``: one array of text for each column of the export."""

    def footer(self) -> bytes:
        """What the file ends with, if the writer is appendable."""
        return b""

    def assemble(self, rows: BinaryIO, file: BinaryIO) -> None:
        """Make the file of the header and the records of all chunks, in bounded memory."""
        raise AssertionError("the file of an appendable writer is complete as it is")


class Format(ABC):
    """A file format.

    A format is deterministic: the same file and plan give the same chunks and the same piece for each chunk. It puts
    every record into exactly one chunk, and needs memory for one chunk and one record, whatever the size of the file.
    """

    name: ClassVar[str]
    """As the API and the command line spell it: ``json_lines``."""
    title: ClassVar[str]
    """As messages call it: ``JSON Lines``."""
    endings: ClassVar[frozenset[str]]
    """How the names of its files end: ``jsonl``."""
    read_only_endings: ClassVar[frozenset[str]] = frozenset()
    """How the names of further files end, which it reads but does not write."""
    bounded: ClassVar[bool] = True
    """Memory does not grow with the file. Files of a format that is not bounded are limited in size."""
    sparse: ClassVar[bool] = False
    """Records name their fields, so a file may lack a column that another one has."""
    telling_faults: ClassVar[frozenset[str]] = frozenset()
    """The codes of faults that tell of a column that the sample lacks."""
    surveyed_whole: ClassVar[int] = 16 << 20
    """The size in bytes up to which a plan reads a whole file to decide on the types of its columns."""
    surveyed_block: ClassVar[int] = 1 << 20
    """The size of each block that it reads of a larger file."""
    unit: ClassVar[str] = "bytes"
    """What ``start`` and ``end`` of a chunk count."""

    @property
    def is_text(self) -> bool:
        """Whether files are text, which has an encoding and is read from the beginning."""
        return self.unit == "bytes"

    @abstractmethod
    def recognises(self, sample: bytes) -> bool:
        """Whether a file that begins with ``sample`` is in this format, beyond doubt."""

    def is_meant(self, spec: ImportSpec | ExportSpec) -> bool:
        """Whether a spec that names no format has options that only this format has."""
        return False

    @abstractmethod
    def check(self, spec: ImportSpec | ExportSpec) -> None:
        """Raise InvalidSpec if the options of the spec make no sense for this format."""

    @abstractmethod
    def outline(self, source: Source, size: int, spec: ImportSpec, column_limit: int) -> Outline:
        """Look at the beginning of the first ``size`` bytes of a file. Raises InvalidSpec if it cannot be imported."""

    def has_columns_of(self, outline: Outline, first: Outline) -> bool:
        """Whether a file of a sparse format has no column that the first file of the same job lacks."""
        return set(outline.names) <= set(first.names)

    def learn(self, outline: Outline, records: Sequence[bytes], path: str, column_limit: int) -> Outline:
        """The outline with the columns and types of further records. Raises InvalidSpec if they cannot be columns."""
        return outline

    def with_header(self, spec: ImportSpec) -> ImportSpec | None:
        """The spec for a file whose first record is a header. None: the spec or the format decides on that."""
        return None

    def like(self, spec: ImportSpec, outline: Outline) -> ImportSpec:
        """The spec with what was found in a file, for another file of the same job."""
        return spec

    @abstractmethod
    def cut(self, source: Source, plan: ImportPlan, previous: Chunk | None, limit: int) -> tuple[Chunk, ...]:
        """The next chunks after the previous one, at most ``limit``; none: the file ends there."""

    def digest(self, source: Source, plan: ImportPlan, chunk: Chunk) -> str:
        """The digest of the bytes that a chunk is read from."""
        return digest_all(source.blocks(chunk.start, chunk.end))

    @abstractmethod
    def read(self, source: Source, plan: ImportPlan, chunk: Chunk) -> Piece:
        """The records of a chunk. Raises SourceChanged if the chunk is not what it was when it was cut, BillImbalance
        if it does not have as many records as then."""

    def damage(self, source: Source, plan: ImportPlan, last: Chunk) -> str:
        """What is wrong with a file behind its records, and where; empty: nothing. ``last`` is its last chunk."""
        return ""

    def left_out(self, source: Source, plan: ImportPlan, last: Chunk) -> str:
        """What follows the records of an undamaged file and was not imported, if the plan did not tell it; empty:
        nothing. ``last`` is its last chunk."""
        return ""

    def may_be(self, sample: bytes) -> bool:
        """Whether a file that begins with ``sample`` is in this format if its name says so, even if another format
        recognises it."""
        return False

    def lines(self, source: Source, plan: ImportPlan, last: Chunk) -> int | None:
        """The number of lines of the file up to the end of its last chunk; None if the format has no lines."""
        return None

    def record_near(self, source: Source, plan: ImportPlan, position: int) -> int | None:
        """Where a record seems to begin soon after a position. None: the format cannot tell.

        A plan decides on types by such records; no record is imported by this guess.
        """
        return None

    @abstractmethod
    def layout(self, spec: ExportSpec, columns: Sequence[Column]) -> Layout:
        """The layout that an export of these columns writes. Raises InvalidSpec."""

    @abstractmethod
    def writer(self, layout: Layout, columns: Sequence[Column]) -> Writer:
        """Writes rows with these columns in a layout of this format."""

"""The rows of an open file of columns: groups of rows that are read one after the other."""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import pyarrow as pa

from ladingd.core.errors import SourceChanged, SourceUnreadable
from ladingd.data.files.digest import digest_all
from ladingd.data.files.roots import Source

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

_FILES = 8
"""How many files a process remembers."""


class Damaged(Exception):
    """A file that is not what its beginning promises. The text says what is wrong and where."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Rows that the file holds together."""

    first: int
    """The number of rows before the group."""
    rows: int
    size: int
    """Roughly the bytes of its values in memory."""
    start: int
    """The bytes of the file that the group is in."""
    end: int


@dataclass(frozen=True, kw_only=True)
class Contents(ABC):
    """What is known of a file without reading its rows."""

    most_rows: ClassVar[int] = 100_000
    """The most rows of a chunk. The size of a group says little about values that it holds only once."""
    schema: pa.Schema
    groups: Sequence[Group]
    shared: Sequence[tuple[int, int]] = ()
    """Bytes of the file that every group needs."""
    named: bool = True
    """The file names its columns."""
    first_line: int = 0
    """The line of the first row; 0: the format has no lines."""
    blank_is_empty: bool = False
    """A row without any value is no record."""
    options: Mapping[str, str] = field(default_factory=dict)
    """How the file is read, as far as a user may decide it."""
    detected: Mapping[str, str] = field(default_factory=dict)
    """What people are told about the contents."""
    notes: Sequence[str] = ()
    """What people should know about them."""
    digests: dict[int, str] = field(default_factory=dict)
    """The digests of groups, by their place."""

    @property
    def is_small(self) -> bool:
        """Whether a process may remember several such files."""
        return True

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.groups[-1].first + self.groups[-1].rows if self.groups else 0

    def line(self, row: int) -> int:
        """The line of a row; 0 if the format has no lines."""
        return self.first_line + row if self.first_line else 0

    @abstractmethod
    def batches(self, source: Source, place: int, size: int) -> Generator[pa.RecordBatch, None, None]:
        """The rows of a group in batches of at most ``size`` rows. Raises ArrowException."""

    def digest(self, source: Source, start: int, end: int) -> str:
        """The digest of all groups with rows from ``start`` to ``end``."""
        for place in self.places(start, end):
            if place not in self.digests:
                group = self.groups[place]
                parts = [*self.shared, (group.start, group.end)]
                self.digests[place] = digest_all(block for part in parts for block in source.blocks(*part))
        return digest_all(self.digests[place].encode() for place in self.places(start, end))

    def places(self, start: int, end: int) -> list[int]:
        """The places of the groups with rows from ``start`` to ``end``."""
        return [
            place
            for place, group in enumerate(self.groups)
            if group.rows and group.first < end and start < group.first + group.rows
        ]


_known: OrderedDict[tuple[str, int, tuple[tuple[str, str], ...]], Contents] = OrderedDict()


def remembered(source: Source, size: int, options: Mapping[str, str]) -> Contents | None:
    """The contents of a file that this process has looked at, unless it was written since."""
    return _known.get((source.state, size, tuple(sorted(options.items()))))


def remember(source: Source, size: int, contents: Contents) -> None:
    """Keep the contents of a file for its next chunk."""
    _known[source.state, size, tuple(sorted(contents.options.items()))] = contents
    while len(_known) > (_FILES if contents.is_small else 1):
        _known.popitem(last=False)


class _Reading:
    """A group that is being read. The next chunk of the group continues where the last one ended."""

    def __init__(self, source: Source, contents: Contents, place: int, size: int) -> None:
        self.position = contents.groups[place].first
        self._source = Source(descriptor=os.dup(source.descriptor), path=source.path)
        self._batches = contents.batches(self._source, place, size)
        self._left: pa.RecordBatch | None = None

    def skip_to(self, start: int) -> None:
        """Leave out the rows before ``start``."""
        for _ in self.take(start):
            pass

    def take(self, end: int) -> Iterator[pa.RecordBatch]:
        """The rows up to ``end``."""
        while self.position < end:
            batch = self._left if self._left is not None else next(self._batches, None)
            if batch is None:
                raise pa.ArrowInvalid(f"it has {self.position:,} rows and promises {end:,}")
            count = min(batch.num_rows, end - self.position)
            self._left = batch.slice(count) if count < batch.num_rows else None
            self.position += count
            yield batch.slice(0, count)

    def close(self) -> None:
        self._batches.close()
        os.close(self._source.descriptor)


_readings: OrderedDict[tuple[str, int], _Reading] = OrderedDict()
"""The group that this process has read in part: none or one."""


def read_rows(source: Source, contents: Contents, start: int, end: int) -> pa.RecordBatch:
    """The rows from ``start`` to ``end``. Raises SourceUnreadable."""
    batches: list[pa.RecordBatch] = []
    for place in contents.places(start, end):
        group = contents.groups[place]
        until = min(end, group.first + group.rows)
        batches += _read(source, contents, place, max(start, group.first), until)
    if len(batches) == 1:
        return batches[0]
    return pa.concat_batches(batches) if batches else pa.RecordBatch.from_pylist([], contents.schema)


def _read(source: Source, contents: Contents, place: int, start: int, end: int) -> list[pa.RecordBatch]:
    group = contents.groups[place]
    key = (source.state, place)
    reading = _readings.pop(key, None)
    if reading is not None and reading.position > start:
        reading.close()
        reading = None
    try:
        reading = reading or _Reading(source, contents, place, end - start)
        reading.skip_to(start)
        batches = list(reading.take(end))
    except (pa.ArrowException, OSError) as error:
        if reading is not None:
            reading.close()
        raise SourceUnreadable(
            f"{source.path}: the rows {group.first + 1:,} to {group.first + group.rows:,} cannot be read: {error}"
        ) from error
    except BaseException:
        if reading is not None:
            reading.close()
        raise
    while _readings:
        _readings.popitem()[1].close()
    if reading.position < group.first + group.rows:
        _readings[key] = reading
    else:
        reading.close()
    return batches


class SourceFile(io.RawIOBase):
    """The first ``size`` bytes of a source as a file for pyarrow."""

    def __init__(self, source: Source, size: int) -> None:
        self._source, self._size, self._position = source, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        return self._position

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._position + size, self._size)
        data = self._source.read(self._position, end)
        self._position += len(data)
        return data


def check_length(source: Source, size: int) -> None:
    """Raise SourceChanged if a file no longer has its planned size."""
    if source.size < size:
        raise SourceChanged(f"{source.path} has become shorter: {size - source.size} bytes are gone")

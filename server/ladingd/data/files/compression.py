"""Compressed files: their codecs, found by the first bytes, and their content as a stream."""

from __future__ import annotations

import bz2
import fnmatch
import lzma
import os
import re
import struct
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, ClassVar, Protocol

from ladingd.core.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from ladingd.data.files.roots import Source

_PIECE = 4 << 10
_DEFLATED = 64 << 10
"""How many compressed bytes are unpacked at a time: of them come 66 MB at most, and 90 MB from bzip2."""


class Damaged(Exception):
    """A compressed file cannot be unpacked beyond a place. The text says where and why."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


class Codec(ABC):
    """A way to compress files."""

    name: ClassVar[str]
    """As plans spell it."""
    title: ClassVar[str]
    """As messages call it."""
    endings: ClassVar[tuple[str, ...]]
    """How the names of such files end."""

    @abstractmethod
    def recognises(self, source: Source, head: bytes) -> bool:
        """Whether a file that begins with ``head`` is compressed this way."""

    def members(self, source: Source, wanted: str) -> tuple[str, ...]:
        """The members of an archive that are read, in order; ``("",)`` for any other file.

        ``wanted`` is a name or a pattern; empty: all. Raises InvalidSpec.
        """
        if wanted:
            raise InvalidSpec("member", f"{source.path} is compressed with {self.title} and has no members")
        return ("",)

    def inner_name(self, path: str, member: str) -> str:
        """The name of the content."""
        return str(PurePosixPath(path).with_suffix("")) if path.lower().endswith(self.endings) else path

    @abstractmethod
    def unpack(self, source: Source, member: str) -> Iterator[bytes]:
        """The content, in pieces. Raises Damaged after everything that can be read before the damage."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Range:
    """Compressed bytes of a file."""

    start: int
    end: int
    what: str
    """How messages call the file."""
    piece: int = _PIECE
    """How many of them are unpacked at a time."""


def _streams(source: Source, where: _Range, make: Callable[[], _Decompressor], trailer: bytes) -> Iterator[bytes]:
    """Unpack streams that follow one another. ``trailer``: what may follow the last one."""
    start = where.start
    while start < where.end:
        start = yield from _stream(source, where, make, start)
        while start < where.end and trailer:
            piece = source.read(start, min(start + _PIECE, where.end))
            start += len(piece) - len(piece.lstrip(trailer))
            if piece.strip(trailer):
                break


def _stream(
    source: Source, where: _Range, make: Callable[[], _Decompressor], start: int
) -> Generator[bytes, None, int]:
    """Unpack one stream and return its end."""
    decompressor = make()
    position = start
    while position < where.end:
        piece = source.read(position, min(position + where.piece, where.end))
        try:
            content = decompressor.decompress(piece)
        except Exception as error:  # Each codec has exceptions of its own.
            place = position + (yield from _up_to_damage(source, make, start, position, piece))
            raise _damaged(where, place, str(error)) from error
        if content:
            yield content
        position += len(piece)
        if decompressor.eof:
            return position - len(decompressor.unused_data)
    raise _damaged(where, position, "it ends too early")


def _up_to_damage(
    source: Source, make: Callable[[], _Decompressor], start: int, position: int, piece: bytes
) -> Generator[bytes, None, int]:
    """Unpack a damaged piece byte by byte, which gives everything before the damage. Returns its place in the piece."""
    decompressor = make()
    for block in source.blocks(start, position, _PIECE):
        decompressor.decompress(block)
    for place in range(len(piece)):
        try:
            content = decompressor.decompress(piece[place : place + 1])
        except Exception:
            return place
        if content:
            yield content
    return len(piece)


def _damaged(where: _Range, place: int, reason: str) -> Damaged:
    reason = _NUMBER.sub("", reason)
    return Damaged(f"{where.what} is damaged near byte {place:,}: {reason}")


_NUMBER = re.compile(r"Error -[0-9]+ (?=[A-Z])")
"""Before the words of an error."""


class _Streams(Codec):
    """Codecs whose files are streams, one after another."""

    begins: ClassVar[re.Pattern[bytes]]
    trailer: ClassVar[bytes] = b""
    """Bytes that may fill the file after the last stream."""
    piece: ClassVar[int] = _PIECE

    def recognises(self, source: Source, head: bytes) -> bool:
        return self.begins.match(head) is not None

    @abstractmethod
    def decompressor(self) -> _Decompressor:
        """A decompressor of one stream."""

    def unpack(self, source: Source, member: str) -> Iterator[bytes]:
        where = _Range(start=0, end=source.size, what=source.path, piece=self.piece)
        return _streams(source, where, self.decompressor, self.trailer)


def inflater(window: int) -> _Decompressor:
    """Unpacks DEFLATE, three times as fast as zlib."""
    from isal import isal_zlib

    return isal_zlib.decompressobj(window)


class Gzip(_Streams):
    name: ClassVar[str] = "gzip"
    title: ClassVar[str] = "gzip"
    endings: ClassVar[tuple[str, ...]] = (".gz", ".gzip")
    begins: ClassVar[re.Pattern[bytes]] = re.compile(rb"\x1f\x8b\x08")
    trailer: ClassVar[bytes] = b"\0"
    piece: ClassVar[int] = _DEFLATED

    def decompressor(self) -> _Decompressor:
        return inflater(16 + zlib.MAX_WBITS)


class Zstd(_Streams):
    name: ClassVar[str] = "zstd"
    title: ClassVar[str] = "Zstandard"
    endings: ClassVar[tuple[str, ...]] = (".zst", ".zstd")
    begins: ClassVar[re.Pattern[bytes]] = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")

    def decompressor(self) -> _Decompressor:
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj()


class Bzip2(_Streams):
    name: ClassVar[str] = "bzip2"
    title: ClassVar[str] = "bzip2"
    endings: ClassVar[tuple[str, ...]] = (".bz2", ".bz")
    begins: ClassVar[re.Pattern[bytes]] = re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")

    def decompressor(self) -> _Decompressor:
        return bz2.BZ2Decompressor()


class Xz(_Streams):
    name: ClassVar[str] = "xz"
    title: ClassVar[str] = "xz"
    endings: ClassVar[tuple[str, ...]] = (".xz",)
    begins: ClassVar[re.Pattern[bytes]] = re.compile(rb"\xfd7zXZ\0")
    trailer: ClassVar[bytes] = b"\0"

    def decompressor(self) -> _Decompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ)


class Zip(Codec):
    """An archive. Its members are files of their own."""

    name: ClassVar[str] = "zip"
    title: ClassVar[str] = "ZIP"
    endings: ClassVar[tuple[str, ...]] = (".zip",)

    def recognises(self, source: Source, head: bytes) -> bool:
        if not head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return False
        # Workbooks and documents are ZIP archives, too.
        return _DOCUMENTS.isdisjoint(each.filename for each in _directory(source))

    def members(self, source: Source, wanted: str) -> tuple[str, ...]:
        listed = [each for each in _directory(source) if not _is_by_the_way(each)]
        infos = {each.filename: each for each in listed}
        if not infos:
            raise InvalidSpec("files[0].path", f"{source.path} is a ZIP archive without files")
        chosen = [wanted] if wanted in infos else sorted(fnmatch.filter(infos, wanted or "*"))
        if not chosen:
            listing = ", ".join([*infos][:_LISTED])
            more = f" and {len(infos) - _LISTED:,} more" if len(infos) > _LISTED else ""
            raise InvalidSpec("member", f"{source.path} has no file {wanted!r}; it has {listing}{more}")
        times = Counter(each.filename for each in listed)
        for name in chosen:
            if times[name] > 1:
                raise InvalidSpec(
                    "files[0].path",
                    f"{source.path} has {times[name]} files called {name!r}, and nothing tells which is meant: unpack "
                    "it first",
                )
            _check_member(source, infos[name])
        return tuple(chosen)

    def inner_name(self, path: str, member: str) -> str:
        return member

    def unpack(self, source: Source, member: str) -> Iterator[bytes]:
        info = _info(source, member)
        what = f"{source.path}, file {member},"
        fixed = source.read(info.header_offset, min(info.header_offset + _LOCAL.size, source.size))
        if len(fixed) < _LOCAL.size or not fixed.startswith(b"PK\x03\x04"):
            raise Damaged(f"{what} is damaged at byte {info.header_offset:,}: no file begins there")
        start = info.header_offset + _LOCAL.size + sum(_LOCAL.unpack(fixed)[-2:])
        unit = _DEFLATED if info.compress_type == zipfile.ZIP_DEFLATED else _PIECE
        where = _Range(start=start, end=min(start + info.compress_size, source.size), what=what, piece=unit)
        make = _METHODS[info.compress_type]
        pieces = _streams(source, where, make, b"") if make else source.blocks(where.start, where.end)
        size = check = 0
        for piece in pieces:
            size, check = size + len(piece), zlib.crc32(piece, check)
            yield piece
        if (size, check) != (info.file_size, info.CRC):
            raise _damaged(where, where.end, f"its {size:,} bytes do not have the checksum of the archive")


def _check_member(source: Source, info: zipfile.ZipInfo) -> None:
    if info.flag_bits & 1:
        raise InvalidSpec("member", f"{source.path}: {info.filename} is encrypted: unpack it first")
    if info.compress_type not in _METHODS:
        raise InvalidSpec(
            "member",
            f"{source.path}: {info.filename} is compressed by method {info.compress_type}, which Lading cannot "
            "read: unpack it first",
        )


_LISTED = 20
_DOCUMENTS = frozenset({"[Content_Types].xml", "mimetype"})
_LOCAL = struct.Struct("<4s5H3I2H")
"""The header of a file in an archive; the last two numbers are the lengths of its name and of what follows the name."""


_METHODS: dict[int, Callable[[], _Decompressor] | None] = {
    zipfile.ZIP_STORED: None,
    zipfile.ZIP_DEFLATED: lambda: inflater(-zlib.MAX_WBITS),
    zipfile.ZIP_BZIP2: bz2.BZ2Decompressor,
}
"""What unpacks the files of an archive, by their method. None: they are stored as they are."""

CODECS: tuple[Codec, ...] = (Gzip(), Zstd(), Bzip2(), Xz(), Zip())

_BY_NAME = {each.name: each for each in CODECS}

HEAD = 16


def codec_named(name: str) -> Codec:
    """The codec that a plan names."""
    return _BY_NAME[name]


def codec_of(source: Source) -> Codec | None:
    """The codec of a file, by its first bytes; None: it is not compressed. Raises InvalidSpec."""
    head = source.read(0, min(HEAD, source.size))
    return next((each for each in CODECS if each.recognises(source, head)), None)


def stream_codec_of(head: bytes) -> Codec | None:
    """The codec of content that begins with ``head``, if it is no archive; None: it is not compressed."""
    streams = (each for each in CODECS if isinstance(each, _Streams))
    return next((each for each in streams if each.begins.match(head)), None)


def _directory(source: Source) -> list[zipfile.ZipInfo]:
    try:
        with open(os.dup(source.descriptor), "rb") as file, zipfile.ZipFile(file) as archive:
            return archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, EOFError, struct.error, ValueError) as error:
        raise InvalidSpec(
            "files[0].path",
            f"{source.path} is a damaged ZIP archive: the directory at its end, before byte {source.size:,}, cannot be "
            f"read ({error})",
        ) from error


def _info(source: Source, member: str) -> zipfile.ZipInfo:
    return next(each for each in _directory(source) if each.filename == member)


def _is_by_the_way(info: zipfile.ZipInfo) -> bool:
    """Directories, and what macOS adds to archives."""
    return info.is_dir() or info.filename.startswith("__MACOSX/") or info.filename.endswith(".DS_Store")

"""What a file contains: its text without compression, in UTF-8, as far as a plan needs it."""

from __future__ import annotations

import os
import weakref
from dataclasses import dataclass, replace
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec
from ladingd.core.plan import UNKNOWN_END, UTF8, Content
from ladingd.data.files.compression import Damaged, codec_named, codec_of, stream_codec_of
from ladingd.data.files.encoding import Finding, converted, find, keeps_ascii, named
from ladingd.data.files.roots import Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ladingd.core.plan import Layout
    from ladingd.core.spec import ImportSpec

_FETCHED = 8 << 20
"""How much of a stream is read at once. A plan rarely needs more: it takes the types from this part."""

_WHOLE = 64 << 20
"""A file of this size is read whole to find its encoding."""
_PIECES, _PIECE = 64, 256 << 10
"""Of a larger file, so many pieces of this size are."""

_HEAD = 4 << 10

_LARGEST = 1 << 30
"""How much of a compressed file is unpacked for a plan that needs its end."""


class ContentEnds(Exception):
    """A stream ended before the bytes that were asked for. Now its size is known."""


class _Stream:
    """Pieces of content that are made one after another, and stay in memory."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._ended = False
        self.kept = bytearray()
        self.damage = ""
        self.fetch(_FETCHED)

    @property
    def size(self) -> int:
        """The size of the content; UNKNOWN_END until the end was read."""
        return len(self.kept) if self._ended else UNKNOWN_END

    def fetch(self, end: int) -> None:
        while not self._ended and len(self.kept) < end:
            try:
                self.kept += next(self._pieces)
            except StopIteration:
                self._ended = True
            except Damaged as damaged:
                self._ended, self.damage = True, str(damaged)
                del self.kept[whole_lines(self.kept) :]


@dataclass(frozen=True, kw_only=True, slots=True)
class Streamed(Source):
    """The content of a file, unpacked or converted as far as it was asked for. Raises ContentEnds."""

    stream: _Stream

    @property
    def size(self) -> int:
        return self.stream.size

    def read(self, start: int, end: int) -> bytes:
        self.stream.fetch(end)
        if len(self.stream.kept) < end:
            raise ContentEnds
        return bytes(self.stream.kept[start:end])

    def all(self) -> Iterator[bytes]:
        """The content from the beginning to the end."""
        position = 0
        while position < self.size:
            self.stream.fetch(position + 1)
            piece = bytes(self.stream.kept[position:])
            if piece:
                yield piece
            position += len(piece)


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How the content of a file is read, and its text."""

    content: Content
    source: Source
    """The text in UTF-8. Bytes that do not fit the encoding are not UTF-8."""
    name: str
    """The name of the content: ``x.csv`` in ``x.csv.gz``."""
    packed: Source
    """The content before its encoding."""
    encoding: Finding | None
    """None: no encoding fits, or the file is not text."""
    damage: str = ""
    """Where the file is damaged, if the damage is near the beginning."""

    @property
    def detected(self) -> Mapping[str, str]:
        """What people are told about the content."""
        found = {"encoding": str(self.encoding)} if self.encoding else {}
        if self.content.compression:
            title = codec_named(self.content.compression).title
            found["compression"] = f"{title}, file {self.content.member}" if self.content.member else title
        return found

    def checked(self, original: Source, *, is_text: bool) -> Look:
        """The same for a format. Raises InvalidSpec if no encoding fits text, or if a file that is not text cannot be
        unpacked: its end is needed first."""
        if not is_text:
            content = replace(self.content, encoding=UTF8, spooled=bool(self.content.compression), converted=False)
            whole = unpacked_whole(original, content) if content.compression else self.packed
            return replace(self, content=content, source=whole, packed=whole, encoding=None)
        if self.encoding is None:
            raise InvalidSpec("encoding", f"{self.source.path} is not UTF-8, and nothing tells its encoding: name it")
        return self

    @property
    def sample(self) -> tuple[Source, int]:
        """What chunks are cut from, and how much of it is there: all of a file, whole lines of a stream."""
        source = self.source if self.content.converted else self.packed
        if isinstance(source, Streamed) and source.size == UNKNOWN_END:
            return source, whole_lines(source.stream.kept)
        return source, source.size

    def place(self, start: int) -> int:
        """The place in the content that chunks are cut from, of a place in the text."""
        if self.content.chunk_encoding == UTF8:
            return start
        return len(self.source.read(0, start).decode(UTF8, "surrogatepass"))

    def end(self, end: int) -> int:
        """The same for the end of the text."""
        return end if self.content.chunk_encoding == UTF8 else self.packed.size

    def fit_for(self, layout: Layout) -> Look:
        """The same for a layout. If it has marks beyond ASCII, chunks can only be cut from UTF-8."""
        if self.content.chunk_encoding == UTF8 or all(detail.isascii() for detail in layout.details.values()):
            return self
        return replace(self, content=replace(self.content, spooled=True, converted=True))


def members(source: Source, wanted: str) -> tuple[str, ...]:
    """The members of an archive that are read, in order; ``("",)`` for any other file. Raises InvalidSpec."""
    codec = codec_of(source)
    if codec is not None:
        return codec.members(source, wanted)
    if wanted:
        raise InvalidSpec("member", f"{source.path} is not an archive and has no members")
    return ("",)


def look(source: Source, spec: ImportSpec, member: str = "", share: int = 1) -> Look:
    """Find out how the content of a file is read. ``share``: the number of files. Raises InvalidSpec."""
    codec = codec_of(source)
    name, damage = source.path, ""
    if codec is None:
        packed = source
    else:
        name = codec.inner_name(source.path, member)
        packed = _streamed(source, codec.unpack(source, member))
        damage = packed.stream.damage
        if damage and not packed.size:
            raise InvalidSpec("files[0].path", damage)
    head = packed.read(0, min(_HEAD, packed.size))
    if codec is not None and (again := stream_codec_of(head)):
        raise InvalidSpec(
            "files[0].path", f"{name} in {source.path} is compressed with {again.title} once more: unpack it first"
        )
    found = _wanted(spec.encoding, head) if spec.encoding else find(head, _pieces(packed, share))
    encoding = found.encoding if found else UTF8
    is_wide = not keeps_ascii(encoding)
    content = Content(
        compression=codec.name if codec else "",
        member=member,
        encoding=encoding,
        spooled=is_wide or codec is not None,
        converted=is_wide,
    )
    text = packed if encoding == UTF8 else _streamed(source, converted(_all(packed), encoding))
    return Look(content=content, source=text, packed=packed, name=name, encoding=found, damage=damage)


def content_of(source: Source, content: Content, *, is_text: bool = True) -> Source:
    """What chunks are cut from, without a spool: for a look at the beginning."""
    if not content.spooled:
        return source
    return _streamed(source, unpacked(source, content)) if is_text else unpacked_whole(source, content)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Unpacked(Source):
    """The content of a compressed file, in a temporary file that ends with this object."""

    held: _Held


class _Held:
    """A descriptor that is closed with this object."""

    def __init__(self, descriptor: int) -> None:
        weakref.finalize(self, os.close, descriptor)


def unpacked_whole(source: Source, content: Content) -> Source:
    """The content of a compressed file that cannot be read from the beginning. Raises InvalidSpec."""
    size = 0
    try:
        with TemporaryFile(prefix="lading-") as file:
            for piece in unpacked(source, content):
                size += len(piece)
                if size > _LARGEST:
                    raise InvalidSpec(
                        "files[0].path",
                        f"{source.path} has more than {_LARGEST >> 20:,} MB when it is unpacked, and its format is "
                        "read from the end: unpack it first",
                    )
                file.write(piece)
            file.flush()
            descriptor = os.dup(file.fileno())
    except Damaged as damaged:
        raise InvalidSpec("files[0].path", str(damaged)) from damaged
    except OSError as error:
        raise InvalidSpec("files[0].path", f"{source.path} cannot be unpacked: {error.strerror}") from error
    return _Unpacked(descriptor=descriptor, path=source.path, held=_Held(descriptor))


def unpacked(source: Source, content: Content) -> Iterator[bytes]:
    """The bytes that chunks are cut from. Raises Damaged after everything that can be read."""
    if content.compression:
        pieces = codec_named(content.compression).unpack(source, content.member)
    else:
        pieces = source.blocks(0, source.size)
    return converted(pieces, content.encoding) if content.converted else pieces


def whole_lines(text: bytes | bytearray) -> int:
    """The end of the last line that has an end."""
    return max(text.rfind(b"\n"), text.rfind(b"\r")) + 1


def _streamed(source: Source, pieces: Iterator[bytes]) -> Streamed:
    return Streamed(descriptor=source.descriptor, path=source.path, stream=_Stream(pieces))


def _all(source: Source) -> Iterator[bytes]:
    return source.all() if isinstance(source, Streamed) else source.blocks(0, source.size)


def _wanted(name: str, head: bytes) -> Finding:
    """The encoding that the spec names. If its byte order is open, the file decides."""
    encoding = named(name)
    if encoding in ("utf-16", "utf-32"):
        found = find(head, ())
        encoding = found.encoding if found and found.encoding.startswith(encoding) else f"{encoding}-le"
    return Finding(encoding=encoding)


def _pieces(source: Source, share: int) -> Iterator[tuple[int, bytes]]:
    """Whole lines of a file, and where each piece begins: all of it, or pieces spread over a large one."""
    if isinstance(source, Streamed):
        ranges = [(0, min(source.size, len(source.stream.kept)))]
    elif source.size <= _WHOLE // share:
        ranges = [(0, source.size)]
    else:
        pieces = max(_PIECES // share, 1)
        step = source.size // pieces
        ranges = [(number * step, number * step + _PIECE) for number in range(pieces)]
    for first, end in ranges:
        place, rest, begun = first, b"", first == 0
        for block in source.blocks(first, end):
            lines = rest + block
            if not begun:
                skipped = lines.find(b"\n") + 1
                if not skipped:
                    break  # One long line.
                place, lines, begun = first + skipped, lines[skipped:], True
            cut = whole_lines(lines) or _last_ascii(lines)
            yield place, lines[:cut]
            place, rest = place + cut, lines[cut:]
        if rest and end == source.size:
            yield place, rest


def _last_ascii(text: bytes) -> int:
    """The end of the last byte that is ASCII."""
    return next(
        (place for place in range(len(text), max(len(text) - _HEAD, 0), -1) if text[place - 1] < 0x80), len(text)
    )

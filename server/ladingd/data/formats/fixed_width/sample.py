"""Reads the beginning of a file of fixed width: its columns, its header, and a sample of the records."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from ladingd.core.errors import InvalidSpec
from ladingd.core.plan import UNKNOWN_END, Layout
from ladingd.core.spec import Header, Ragged
from ladingd.data.formats.csv.dialect import mark
from ladingd.data.formats.fixed_width.reader import (
    BARS,
    COMMENT,
    FILLED,
    HOLLOW,
    RULED,
    SHORT,
    TEXT_BEHIND_COLUMNS,
    WIDTHS,
    piece_of,
)
from ladingd.data.formats.fixed_width.records import LINELESS, is_lineless, places_of, record_ends
from ladingd.data.formats.fixed_width.structure import Uncertain, find_ruler, find_structure
from ladingd.data.formats.fixed_width.widths import FIELD, Widths, wanted
from ladingd.data.formats.format import Piece
from ladingd.data.formats.header import different_names, judge
from ladingd.data.formats.lines import FILE_FIELD, decodable, end_of_line, without_line_end

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ladingd.core.spec import FixedWidthFormat
    from ladingd.data.files.roots import Source
    from ladingd.data.formats.fixed_width.structure import Ruler
    from ladingd.data.formats.lines import Beginning
    from ladingd.data.values.positions import Positions

NAME = "fixed_width"

HEAD = 1 << 20
"""How many bytes at the beginning of a file are read."""
_LINES = 500
"""How many lines of the head decide on the columns, and of each block behind it."""
_BLOCKS, _BLOCK = 15, 64 << 10
"""How much is read of the rest of the file: so many blocks of this size, spread evenly."""
_JUDGED = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The columns of a file, and its first records."""

    layout: Layout
    names: list[str]
    named: bool
    """The header or the user names the columns. Otherwise their position identifies them."""
    start: int
    """The bytes before the first record."""
    lines: int
    """The lines before the first record."""
    piece: Piece
    """The whole records of the head."""
    whole: bool
    """They are all records."""
    detected: dict[str, str]
    notes: tuple[str, ...]


class _Line(NamedTuple):
    """A line of the head that is neither blank nor a comment."""

    number: int
    """How many lines are before it."""
    text: str


class _Columns(NamedTuple):
    """What the lines show."""

    widths: Widths
    header: _Line | None
    """The line that names the columns."""
    doubt: str
    """Why the decision on the header is uncertain."""
    ruler: Ruler | None


def read_head(source: Source, beginning: Beginning, size: int, options: FixedWidthFormat, column_limit: int) -> Head:
    """Read the head of a file that is not empty. Raises InvalidSpec."""
    end = min(beginning.start + HEAD, size)
    text = decodable(source.read(beginning.start, end), source.path, beginning, whole=end == size)
    typed = wanted(options.widths)
    details = {COMMENT: mark(options.comment)} if mark(options.comment) else {}
    if typed.widths and is_lineless(text, typed.all):
        details |= {LINELESS: "yes", WIDTHS: str(typed.all)}
    layout = Layout(format=NAME, details=details)
    ends = record_ends(text, layout, final=end == size)
    if not ends.size:
        raise InvalidSpec(FILE_FIELD, f"{source.path}: the first line has more than {HEAD:,} bytes")
    skipped = min(options.skip_lines or 0, ends.size)
    lines = list(_usable(text, ends, skipped, details.get(COMMENT, "")))
    if not lines:
        raise InvalidSpec(FILE_FIELD, f"{source.path} has no line with text: there are no columns")
    others = [] if LINELESS in details else [*_spread(source, beginning.start, size, details.get(COMMENT, ""))]
    columns = _columns(source.path, lines, others, options)
    widths, header, ruler = columns.widths, columns.header, columns.ruler
    if len(widths.columns) > column_limit:
        raise InvalidSpec(
            FILE_FIELD, f"{source.path} has {len(widths.columns):,} columns; at most {column_limit:,} can be imported"
        )
    details |= {WIDTHS: str(widths)}
    if ruler is not None:
        details |= {RULED: "yes"} | ({BARS: "yes"} if ruler.bars else {})
        skipped = lines[ruler.line].number + 1
    elif header is not None:
        skipped = header.number + 1
    start = int(ends[skipped - 1]) if skipped else 0
    names = list(typed.names) or (_names(header.text, widths) if header else [""] * len(widths.columns))
    if any("\0" in name for name in names):
        raise InvalidSpec(FILE_FIELD, f"{source.path}: the name of a column has a NUL byte in it")
    names, renamed = different_names(names)
    records = text[start : int(ends[-1])]
    piece, fills = _records(source.path, records, replace(layout, details=details), names, others, options)
    if fills:
        details |= {SHORT: FILLED}
    found = {"format": "fixed width", "widths": widths.shown}
    if ruler is not None:
        found["widths"] += f" (by line {beginning.lines + lines[ruler.line].number + 1:,})"
    elif not typed.widths:
        found["widths"] += " (detected)"
    doubt = f" (in doubt: {columns.doubt})" if columns.doubt else ""
    above = header.number if header is not None else skipped
    return Head(
        layout=replace(layout, details=details),
        names=names,
        named=header is not None or bool(typed.names),
        start=start,
        lines=skipped if LINELESS not in details else 0,
        piece=piece,
        whole=end == size,
        detected=found | {"header": f"{'no' if header is None else 'yes'}{doubt}", "encoding": "UTF-8"},
        notes=(*_above(above, beginning), *renamed),
    )


def _usable(text: bytes, ends: Positions, skipped: int, comment: str) -> Iterator[_Line]:
    start, number = int(ends[skipped - 1]) if skipped else 0, 0
    for place in range(skipped, len(ends)):
        line = without_line_end(text[start : ends[place]])
        start = int(ends[place])
        if line.strip(HOLLOW) and not (comment and line.startswith(comment.encode())):
            yield _Line(place, line.decode())
            number += 1
            if number == _LINES:
                return


def _spread(source: Source, start: int, size: int, comment: str) -> Iterator[str]:
    """Lines behind the head. Of a stream whose end is unknown nothing more is read."""
    if size == UNKNOWN_END or size - start <= HEAD:
        return
    step = (size - start - HEAD) // _BLOCKS
    for number in range(_BLOCKS):
        place = end_of_line(source, start + HEAD + number * step, size)
        data = source.read(place, min(place + _BLOCK, size))
        ends = record_ends(data, Layout(format=NAME), final=False)[: _LINES // 5]
        text = data[: ends[-1]].decode(errors="replace") if ends.size else ""
        for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
            if line.strip(HOLLOW.decode()) and not (comment and line.startswith(comment)):
                yield line


def _columns(path: str, lines: Sequence[_Line], others: Sequence[str], options: FixedWidthFormat) -> _Columns:
    """The columns, by the widths of the user, a line of dashes, or the blanks that all lines share."""
    texts = [line.text for line in lines]
    ruler = find_ruler([*texts, *others])
    typed = wanted(options.widths)
    if ruler is not None:
        header = None if options.header is Header.ABSENT else lines[ruler.line - 1]
        return _Columns(typed.all if typed.widths else ruler.widths, header, "", ruler)
    if not typed.widths:
        try:
            found = find_structure([*texts, *others], options.header)
        except Uncertain as uncertain:
            if uncertain.guess:
                known = f"give their widths, {uncertain.guess} if that is right: --widths {uncertain.guess}"
            else:
                known = "give their widths in characters: --widths 10,20,8"
            raise InvalidSpec(FILE_FIELD, f"the columns of {path} are uncertain: {uncertain}; {known}") from None
        return _Columns(found.widths, lines[0] if found.header else None, found.doubt, None)
    if options.header is not Header.DEFAULT:
        return _Columns(typed.all, lines[0] if options.header is Header.PRESENT else None, "", None)
    below = [typed.all.split(text) for text in texts[1 : _JUDGED + 1]]
    judged = judge(typed.all.split(texts[0]), [*zip(*below, strict=True)] or [()] * len(typed.widths))
    return _Columns(typed.all, lines[0] if judged.header else None, judged.doubt, None)


def _names(header: str, widths: Widths) -> list[str]:
    """The names in a header. Names that are wider than their columns are told by the blanks between them."""
    words, places = header.split(), widths.places
    cut = any(
        header[place - 1 : place].strip() and header[place : place + 1].strip()
        for place in (places[column] for column in widths.columns[1:])
    )
    return words if cut and len(words) == len(widths.columns) else widths.split(header)


def _records(
    path: str, records: bytes, layout: Layout, names: Sequence[str], others: Sequence[str], options: FixedWidthFormat
) -> tuple[Piece, bool]:
    """The records of the head, and whether blanks complete short lines: there are such lines, and no line ends with
    blanks. Raises InvalidSpec if most lines are too long."""
    widths = Widths.of(layout.details[WIDTHS])
    filled = replace(layout, details={**layout.details, SHORT: FILLED})
    piece = piece_of(records, places_of(records, layout), filled, names, 1)
    behind = [fault for fault in piece.faults if fault.code == TEXT_BEHIND_COLUMNS]
    if len(behind) * 2 > piece.indexes.size + len(piece.faults):
        raise InvalidSpec(
            FIELD,
            f"adds up to {widths.total} characters, and most lines of {path} are longer; "
            "with *, the last column takes the rest",
        )
    if options.ragged is not None:
        fills = options.ragged is Ragged.FILL
    else:
        # A last line without a line end may be cut off; it does not show that the other lines end early.
        ended = piece.indexes[: None if records.endswith((b"\n", b"\r")) else -1]
        texts = [*piece.origins.raw(ended).to_pylist(), *others]
        is_padded = any(text.endswith(" ") for text in texts if len(text) >= widths.total)
        fills = not is_padded and any(len(text) < widths.total for text in texts)
    if not fills:
        piece = piece_of(records, places_of(records, layout), layout, names, 1)
    return piece, fills


def _above(lines: int, beginning: Beginning) -> tuple[str, ...]:
    """What people are told of the lines above the table."""
    if not lines:
        return ()
    first, last = beginning.lines + 1, beginning.lines + lines
    if lines == 1:
        return (f"line {first:,} stands before the table and was skipped",)
    return (f"lines {first:,} to {last:,} stand before the table and were skipped",)

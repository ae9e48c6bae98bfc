"""A mapped import gives what a slow program in plain Python gives, however the file is cut into chunks."""

from __future__ import annotations

import asyncio
import csv
import io
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ladingd.core.spec import ColumnMapping, CsvFormat, Enumeration, Header
from ladingd.data.rejects.files import RejectFiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from tests.unit.data.conftest import Yard

HEADER = ["id", "Full Name", "n", "kind", "junk"]
STEPS: dict[str, Callable[[str], str]] = {
    "trim": str.strip,
    "lower": str.lower,
    "digits_only": lambda text: "".join(letter for letter in text if letter in "0123456789"),
    "collapse_spaces": lambda text: " ".join(text.split()),
    "truncate:4": lambda text: text[:4],
    "replace:a:bb": lambda text: text.replace("a", "bb"),
    "pad_left:6:*": lambda text: text.rjust(6, "*"),
    "strip_accents": lambda text: "".join(
        letter for letter in unicodedata.normalize("NFD", text) if not unicodedata.combining(letter)
    ),
}
_CSV = CsvFormat(delimiter=",", quote='"', header=Header.PRESENT, skip_lines=0, comment="none", escape="none")
KINDS = {"a": "1", "b": "2"}


@dataclass(frozen=True, kw_only=True)
class Wish:
    """The options of one import."""

    steps: tuple[str, ...] = ()
    default: str | None = None
    other_kind: str | None = None
    least: int | None = None
    """Only records with at least this ``n``."""
    skip: int = 0
    limit: int = 0
    first_line: int = 0
    last_line: int = 0

    def options(self) -> dict[str, Any]:
        return {
            "columns": (
                ColumnMapping(
                    source="Full Name", target="name", transformations=self.steps, default_value=self.default
                ),
                ColumnMapping(source="kind", lookup="kinds"),
                ColumnMapping(target="label", expression="coalesce(\"Full Name\", '-') || ':' || (n + 1)"),
                ColumnMapping(target="line", expression="lading_line"),
            ),
            "ignored_columns": ("junk",),
            "types": {"id": "integer", "n": "integer", "Full Name": "text", "kind": "integer"},
            "enumerations": {"kinds": Enumeration(values=KINDS, default_value=self.other_kind)},
            "filter": "" if self.least is None else f"n >= {self.least}",
            "skip": self.skip,
            "limit": self.limit,
            "first_line": self.first_line,
            "last_line": self.last_line,
        }


@dataclass(kw_only=True)
class Expected:
    """What the import must give."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    rejects: list[tuple[int, str, str]] = field(default_factory=list)
    filtered: int = 0


def oracle(records: list[list[str]], wish: Wish) -> Expected:
    """Judge one record after the other."""
    expected = Expected()
    for number, fields in enumerate(records, 1):
        line = number + 1
        outside = number <= wish.skip or (wish.limit and number > wish.skip + wish.limit)
        if outside or line < wish.first_line or (wish.last_line and line > wish.last_line):
            expected.filtered += 1
            continue
        if len(fields) != len(HEADER):
            expected.rejects.append((line, "", "TOO_FEW_COLUMNS" if len(fields) < len(HEADER) else "TOO_MANY_COLUMNS"))
            continue
        id, name, n, kind, _ = fields
        number_of: int | None = None
        if n.lstrip("-").isdigit() and n.isascii():
            number_of = int(n)
        elif n:
            expected.rejects.append((line, "n", "NOT_AN_INTEGER"))
            continue
        if wish.least is not None and (number_of is None or number_of < wish.least):
            expected.filtered += 1
            continue
        text: str | None = name or None
        if text is not None:
            for step in wish.steps:
                text = STEPS[step](text)
            text = text or None
        if text is None:
            text = wish.default
        mapped = KINDS.get(kind) or (None if not kind else wish.other_kind)
        if kind and mapped is None:
            expected.rejects.append((line, "kind", "NOT_IN_ENUMERATION"))
            continue
        label = None if number_of is None else f"{'-' if text is None else text}:{number_of + 1}"
        expected.rows.append((int(id), text, number_of, None if mapped is None else int(mapped), label, line))
    return expected


NAMES = st.one_of(
    st.sampled_from(["", " Anna  Maria ", "ÉMILE a", "a1b2c3", "   ", "x", "12", "Zoë", "a,b", 'say "hi"']),
    st.text(st.sampled_from("aA1 é,"), max_size=8),
)
RECORDS = st.tuples(
    NAMES,
    st.sampled_from(["", "0", "7", "-3", "12", "x"]),
    st.sampled_from(["", "a", "b", "c"]),
    st.sampled_from([4, 5, 5, 5, 5, 5, 5, 6]),
)
WISHES = st.builds(
    Wish,
    steps=st.lists(st.sampled_from(sorted(STEPS)), max_size=3).map(tuple),
    default=st.sampled_from([None, "nobody"]),
    other_kind=st.sampled_from([None, "9"]),
    least=st.sampled_from([None, None, 0, 5]),
    skip=st.sampled_from([0, 0, 0, 1, 3, 50]),
    limit=st.sampled_from([0, 0, 0, 1, 4]),
    first_line=st.sampled_from([0, 0, 0, 3]),
    last_line=st.sampled_from([0, 0, 0, 4, 6]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=st.lists(RECORDS, min_size=1, max_size=12), wish=WISHES, size=st.sampled_from([1, 7, 40, 100, 1_000_000])
)
def test_an_import_gives_what_plain_python_gives(
    make_yard: Callable[[Path], Yard],
    tmp_path_factory: pytest.TempPathFactory,
    records: list[tuple[str, str, str, int]],
    wish: Wish,
    size: int,
) -> None:
    lines = [
        [str(number), name, n, kind, "junk", "more"][:width] for number, (name, n, kind, width) in enumerate(records, 1)
    ]
    # Regular records at the end, so that the structure of the file is clear.
    lines += [[str(number), "Bob", "1", "a", "junk"] for number in range(len(lines) + 1, len(lines) + 14)]
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([HEADER, *lines])
    yard = make_yard(tmp_path_factory.mktemp("yard"))
    plan = yard.plan_import(written.getvalue(), chunk_bytes=size, csv=_CSV, **wish.options())
    counts = yard.run(plan)
    expected = oracle(lines, wish)
    rows = sorted(yard.sql('SELECT id, name, n, kind, label, "line" FROM t'))
    assert rows == expected.rows
    ordinals = [chunk.ordinal for chunk in yard.chunks(plan) if yard.work_dir.rejects("job", chunk.ordinal).exists()]
    found = asyncio.run(RejectFiles(yard.work_dir).read("job", ordinals, size=1000)).items
    assert [(each.line, each.column, each.code) for each in found] == expected.rejects
    assert (counts.inserted, counts.rejected) == (len(expected.rows), len(expected.rejects))
    assert counts.read == counts.inserted + counts.rejected + counts.filtered
    assert counts.filtered <= expected.filtered, "what is behind the window need not be read"

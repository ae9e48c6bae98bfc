"""Tables that str.ljust and str.rjust lay out come back: always with the widths, and without them or not at all."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import FixedWidthFormat, Header, ImportSpec, Ragged, Table
from ladingd.data.files.roots import open_source
from ladingd.data.formats.fixed_width.format import FixedWidth

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.data.conftest import Yard

Row = list[str]

WORDS = ("Anna", "O'Neil", "Müller", "x", "12", "2024-01-02", "naïve", "e-mail", "A1", "Zoë")

MAKERS: list[tuple[Callable[[Random], str], bool]] = [
    (lambda random: str(random.randint(-9999, 99999)), True),
    (lambda random: f"{random.uniform(0, 10_000):.2f}", True),
    (lambda random: f"{random.randint(0, 999):03}", False),
    (lambda random: f"2024-{random.randint(1, 12):02}-{random.randint(1, 28):02}", False),
    (lambda random: " ".join(random.choices(WORDS, k=random.randint(1, 3))), False),
    (lambda random: random.choice(WORDS) if random.random() < 0.2 else "", False),
]
"""How the values of a column are made, and whether they stand on the right."""

values = st.text(alphabet="ab é0.-\"',;|ÄZ\u2028\u0308", max_size=9).map(lambda text: text.strip(" "))
tables = st.integers(1, 5).flatmap(lambda width: st.lists(st.lists(values, min_size=width, max_size=width), min_size=1))


def laid_out(rows: list[Row], widths: list[int], rights: list[bool]) -> list[str]:
    return [
        "".join(
            value.rjust(width) if right else value.ljust(width)
            for value, width, right in zip(row, widths, rights, strict=True)
        )
        for row in rows
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(
    rows=tables,
    data=st.data(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    cut=st.booleans(),
    ended=st.booleans(),
    chunk_bytes=st.sampled_from([1, 50, 8 << 20]),
)
def test_a_table_comes_back_with_its_widths(
    make_yard: Callable[[Path], Yard],
    rows: list[Row],
    data: st.DataObject,
    encoding: str,
    newline: str,
    cut: bool,
    ended: bool,
    chunk_bytes: int,
) -> None:
    number = len(rows[0])
    rights = data.draw(st.lists(st.booleans(), min_size=number, max_size=number))
    widths = [max(1, *(len(row[place]) for row in rows)) + data.draw(st.integers(0, 3)) for place in range(number)]
    lines = laid_out(rows, widths, rights)
    lines = [line.rstrip(" ") for line in lines] if cut else lines
    text = newline.join(lines) + (newline if ended else "")
    filled = [tuple(value or None for value in row) for row in rows if any(row)]
    names = [f"c{place}" for place in range(number)]
    with TemporaryDirectory() as directory:
        yard = make_yard(Path(directory))
        spec = ImportSpec(
            files=(yard.write(text.encode(encoding), "in.txt"),),
            target=Table(table="t"),
            fixed_width=FixedWidthFormat(
                widths=",".join(f"{name}={width}" for name, width in zip(names, widths, strict=True)),
                header=Header.ABSENT,
                ragged=Ragged.FILL,
            ),
            types=dict.fromkeys(names, "text"),
            encoding=encoding.removesuffix("-sig"),
            chunk_bytes=chunk_bytes,
        )
        if not filled:
            with suppress(InvalidSpec):
                yard.transfer.plan(spec)
            return
        plan = yard.transfer.plan(spec)
        counts = yard.run(plan)  # type: ignore[arg-type]
        assert (counts.inserted, counts.rejected) == (len(filled), 0)
        assert yard.sql("SELECT * FROM t ORDER BY rowid") == filled


kinds = st.sampled_from(
    [
        (st.integers(-9999, 99999).map(str), True),
        (st.decimals(0, 10000, places=2).map(str), True),
        (st.sampled_from(WORDS), False),
        (st.text("abcdefgé", min_size=1, max_size=12), False),
        (st.dates().map(str), False),
        (st.just(""), False),
    ]
)
phrases = (st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join), False)


def drawn(data: st.DataObject, columns: list[tuple[st.SearchStrategy[str], bool]]) -> tuple[list[Row], list[bool]]:
    number = data.draw(st.integers(20, 60))
    cells = [data.draw(st.lists(kind, min_size=number, max_size=number)) for kind, _ in columns]
    return [list(row) for row in zip(*cells, strict=True)], [right for _, right in columns]


def spaced(rows: list[Row], rights: list[bool]) -> list[str]:
    """Lines with two blanks between columns."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rights))]
    padded = [
        laid_out([[value] for value in column], [width], [right])
        for column, width, right in zip(zip(*rows, strict=True), widths, rights, strict=True)
    ]
    return ["  ".join(cells) for cells in zip(*padded, strict=True)]


def filled_columns(rows: list[Row]) -> list[Row]:
    """The rows that have a value, without the columns that have none."""
    columns = [column for column in zip(*rows, strict=True) if any(column)]
    return [list(row) for row in zip(*columns, strict=True) if any(row)]


def detected(yard: Yard, text: str, header: Header) -> list[Row]:
    """The rows of a file as they are detected. Raises InvalidSpec."""
    spec = ImportSpec(
        files=(yard.write(text, "in.txt"),),
        target=Table(table="t"),
        file_format="fixed_width",
        fixed_width=FixedWidthFormat(header=header),
    )
    plan = yard.transfer.plan(spec)
    assert plan.kind == "import"
    with open_source({"local": yard.directory}, {}, spec.files[0]) as source:
        pieces = [FixedWidth().read(source, plan, chunk) for chunk in FixedWidth().cut(source, plan, None, 100)]
    assert not any(piece.faults for piece in pieces)
    rows = [row for piece in pieces for row in zip(*(column.to_pylist() for column in piece.columns), strict=True)]
    return [[value or "" for value in row] for row in rows]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(columns=st.lists(kinds, min_size=2, max_size=6), data=st.data(), header=st.booleans(), cut=st.booleans())
def test_a_table_with_wide_gaps_is_detected_or_uncertain(
    make_yard: Callable[[Path], Yard],
    columns: list[tuple[st.SearchStrategy[str], bool]],
    data: st.DataObject,
    header: bool,
    cut: bool,
) -> None:
    rows, rights = drawn(data, columns)
    if header:
        rows.insert(0, [f"name{place}" for place in range(len(columns))])
    lines = spaced(rows, rights)
    text = "\n".join(line.rstrip(" ") if cut else line for line in lines) + "\n"
    with TemporaryDirectory() as directory:
        try:
            found = detected(make_yard(Path(directory)), text, Header.PRESENT if header else Header.ABSENT)
        except InvalidSpec:
            return
    assert filled_columns(found) == filled_columns(rows[header:])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(
    columns=st.lists(st.one_of(kinds, st.just(phrases)), min_size=2, max_size=4), data=st.data(), header=st.booleans()
)
def test_blanks_within_values_are_never_taken_for_columns(
    make_yard: Callable[[Path], Yard],
    columns: list[tuple[st.SearchStrategy[str], bool]],
    data: st.DataObject,
    header: bool,
) -> None:
    rows, rights = drawn(data, columns)
    if header:
        rows.insert(0, [f"name{place}" for place in range(len(columns))])
    with TemporaryDirectory() as directory:
        try:
            found = detected(
                make_yard(Path(directory)), "\n".join(spaced(rows, rights)), Header.PRESENT if header else Header.ABSENT
            )
        except InvalidSpec:
            return
    assert filled_columns(found) == filled_columns(rows[header:])


@pytest.mark.parametrize("seed", range(40))
def test_columns_two_blanks_apart_are_certain(yard: Yard, seed: int) -> None:
    random = Random(seed)
    number = random.randint(2, 6)
    makers = [random.choice(MAKERS) for _ in range(number)]
    rows = [[make(random) for make, _ in makers] for _ in range(random.randint(20, 200))]
    lines = spaced([[f"name{place}" for place in range(number)], *rows], [right for _, right in makers])
    assert detected(yard, "\n".join(lines), Header.DEFAULT) == rows

"""Files that nobody would lay out by hand: every line is a row, a fault or empty, and nothing fails or takes long."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, example, given, settings

from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import File, FixedWidthFormat, Header, ImportSpec, Table
from ladingd.data.formats.fixed_width.format import FixedWidth
from tests.unit.data.formats.fixed_width.conftest import planned
from tests.unit.data.imports.test_import import rejects_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.data.conftest import Yard

PIECES = (
    r"\r|\n|\r\n|\t| |   |\0|\xff|\x80|\xc3|\xc3\xa9|a|12|--|\x1a|\x0c|\xef\xbb\xbf|#|+|\xf0\x9d\x84\x9e|\xed\xb2\x80"
)
pieces = st.sampled_from(
    [piece.encode("latin-1").decode("unicode_escape").encode("latin-1") for piece in PIECES.split("|")]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(
    data=st.lists(pieces, max_size=60).map(b"".join),
    widths=st.sampled_from(["", "1", "2,3", "~1,2,*", "3,3,3,3"]),
    chunk_bytes=st.sampled_from([1, 7, 8 << 20]),
    comment=st.sampled_from(["", "#", "--"]),
)
@example(data=b"a\n-", widths="1", chunk_bytes=1, comment="--")
@example(data=b"\x80ab\n", widths="1,2", chunk_bytes=1, comment="")
@example(data=b"\t", widths="~1,2,*", chunk_bytes=1, comment="")
def test_no_line_is_lost(
    make_yard: Callable[[Path], Yard], data: bytes, widths: str, chunk_bytes: int, comment: str
) -> None:
    with TemporaryDirectory() as directory:
        yard = make_yard(Path(directory))
        try:
            plan = planned(yard, data, widths, encoding="utf-8", chunk_bytes=chunk_bytes, comment=comment)
        except InvalidSpec:
            return
        counts = yard.run(plan)
        assert counts.balances
        if plan.columns:
            text = data[plan.file.start : plan.file.end]
            whole = planned(yard, data, widths, encoding="utf-8", comment=comment)
            assert sum(chunk.records or 0 for chunk in yard.chunks(plan)) == sum(
                chunk.records or 0 for chunk in yard.chunks(whole)
            )
            assert bool(text) == bool(counts.read)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.one_of(st.binary(max_size=400), st.lists(pieces, max_size=80).map(b"".join)))
def test_no_sample_ends_the_detection(data: bytes) -> None:
    FixedWidth().recognises(data)


@pytest.mark.parametrize(
    ("text", "widths"),
    [
        ("a" * 300_000 + "\n", "5,5"),
        ("x\t1\n" * 60_000, "2,2"),
        ("ab\x0c\n" * 60_000, "2,2"),
        ("abcdefgh\n" * 60_000, "2,2,*"),
        ("\n" * 300_000 + "ab\n", "1,1"),
        ("a" * 2000 + "\n", ",".join(["1"] * 2000)),
        ("-" * 200 + " " + "-" * 200 + "\n", ""),
        (("- " * 1000 + "\n") * 100, ""),
        ("é" * 100_000 + "\n" + "é\n" * 60_000, "1,*"),
    ],
)
def test_odd_files_take_no_time(yard: Yard, text: str, widths: str) -> None:
    begun = time.process_time()
    try:
        plan = planned(yard, text, widths, header=Header.ABSENT)
    except InvalidSpec:
        pass
    else:
        assert yard.run(plan).balances
    assert time.process_time() - begun < 10


def test_a_value_that_crosses_a_chunk_of_latin_1_stays_whole(yard: Yard) -> None:
    lines = [f"{number:>5}{'é' * (number % 9):<9}{number * 3:>7}" for number in range(20_000)]
    data = "\n".join(lines).encode("latin-1")
    plan = planned(yard, data, "5,9,7", encoding="latin-1", chunk_bytes=10_000, header=Header.ABSENT)
    assert yard.run(plan).inserted == 20_000
    assert rejects_of(yard, plan) == []
    assert yard.sql("SELECT count(*), sum(column3), sum(length(column2)) FROM t") == [
        (20_000, 3 * sum(range(20_000)), sum(number % 9 for number in range(20_000)))
    ]


def test_a_second_file_is_read_like_the_first(yard: Yard) -> None:
    rows = [f"{number:>4}  {'ab' * (number % 3 + 1):<8}  {number * 100:>6}\n" for number in range(1, 400)]
    first = yard.write("".join(rows), "a.txt")
    yard.write(rows[0] * 2, "b.txt")
    spec = ImportSpec(
        files=(first, File(path="b.txt")),
        target=Table(table="t"),
        fixed_width=FixedWidthFormat(header=Header.ABSENT),
    )
    plan = yard.transfer.plan(spec)
    assert plan.kind == "import"
    assert plan.files[0].layout.details["widths"] == plan.files[1].layout.details["widths"]

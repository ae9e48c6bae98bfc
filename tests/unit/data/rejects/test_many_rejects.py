"""A chunk with only rejected records."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

from ladingd.data.databases.sqlite.converters import sqlite_reading
from ladingd.data.files.roots import open_source
from ladingd.data.formats.csv.format import Csv
from ladingd.data.mapping.compiled import CompiledMapping
from ladingd.data.rejects.fault import Faults
from ladingd.data.rejects.lines import json_lines, write_rejects
from ladingd.data.values.types import TEXT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.data.conftest import Yard


def test_rejects_are_written_without_holding_them_all(yard: Yard, tmp_path: Path) -> None:
    data = b"x\n" * 20_000
    plan = yard.plan_import("a,b\n1,2\n" + data.decode())
    (chunk,) = yard.chunks(plan)
    with open_source({"local": tmp_path}, {}, plan.file.location) as source:
        piece = Csv().read(source, plan, chunk)
    batch = CompiledMapping.of(plan, [sqlite_reading(TEXT, inferred=False)] * 2).apply(piece, chunk)
    path = tmp_path / "rejects"
    tracemalloc.start()
    try:
        write_rejects(path, json_lines(batch.rejects(Faults.of(batch.faults))))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(path.read_bytes().splitlines()) == 20_000 + 1, "one line for each reject, one for the groups"
    assert peak < 200 * 20_000

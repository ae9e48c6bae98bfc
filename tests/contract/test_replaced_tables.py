"""Readers of a table whose rows are replaced, in every kind of database."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.contract.imports import Pier, by
from tests.harness.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS, VERSIONS = 200, 2


def test_readers_see_all_old_rows_or_all_new_ones(pier: Pier) -> None:
    old = ", ".join(f"({number}, 0)" for number in range(ROWS))
    pier.database.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, version INTEGER)", f"INSERT INTO t VALUES {old}")
    seen: list[tuple[int, int, int]] = []
    ended = threading.Event()

    def read() -> None:
        seen.extend(pier.database.sql_again("SELECT min(version), max(version), count(*) FROM t", ended))

    with ThreadPoolExecutor(1) as reader:
        reading = reader.submit(read)
        try:
            for version, records in _versions():
                before = len(seen)
                options = by("id") if version % 2 else {}
                pier.run(pier.plan(records, **options, replace=True), str(uuid.uuid4()))
                until(lambda before=before: len(seen) > before + 1 or reading.done(), "the table is read")
        finally:
            ended.set()
        reading.result()
    assert {(low == high, number) for low, high, number in seen} == {(True, ROWS)}
    assert {low for low, _, _ in seen} >= {0, VERSIONS}


def _versions() -> Iterator[tuple[int, str]]:
    for version in range(1, VERSIONS + 1):
        yield version, "id,version\n" + "".join(f"{number + version},{version}\n" for number in range(ROWS))

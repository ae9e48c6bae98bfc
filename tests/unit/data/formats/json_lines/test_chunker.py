"""Chunks of whole lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ladingd.core.bill import Counts
from tests.unit.data.formats.json_lines.conftest import planned
from tests.unit.data.imports.test_import import rejects_of

if TYPE_CHECKING:
    from tests.unit.data.conftest import Yard


def test_a_long_record_is_read_or_refused_whole(yard: Yard) -> None:
    fits, beyond = "x" * (2 << 20), "y" * ((16 << 20) + 1)
    plan = planned(yard, f'{{"v": "{fits}"}}\n{{"v": "{beyond}"}}\n{{"v": "z"}}\n', chunk_bytes=100)
    assert yard.run(plan) == Counts(read=3, inserted=2, rejected=1, errors=1)
    (reject,) = rejects_of(yard, plan)
    assert (reject.line, reject.code) == (2, "RECORD_TOO_LONG")
    assert yard.sql("SELECT length(v) FROM t ORDER BY 1") == [(1,), (len(fits),)]

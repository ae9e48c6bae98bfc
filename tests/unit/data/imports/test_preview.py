"""Previews: what an import would do, without a job."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest

from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import ImportSpec, Table

if TYPE_CHECKING:
    from ladingd.core.preview import Preview
    from tests.unit.data.conftest import Yard


def preview(yard: Yard, text: str, records: int = 20, table: str = "t") -> Preview:
    return yard.transfer.preview(ImportSpec(files=(yard.write(text),), target=Table(table=table)), records)


def test_the_first_records_are_shown_as_they_would_be_read(yard: Yard) -> None:
    shown = preview(yard, 'id,name,price\n1,"a\nb",2.50\n2,,0.75\n3,c,1.00\n', records=2)
    assert [column.type for column in shown.plan.columns] == ["integer", "text", "decimal(15,2)"]
    assert [(record.line, list(record.values)) for record in shown.records] == [
        (2, ["1", "a\nb", "2.5"]),
        (4, ["2", None, "0.75"]),
    ]
    assert (shown.read, shown.rejected, shown.whole) == (3, 0, True)


def test_what_would_be_rejected_is_shown_and_nothing_is_changed(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (id INTEGER, n INTEGER NOT NULL)")
    shown = preview(yard, "id,n\n1,2\nx,3\n4,\n5,6,7\n")
    assert [(reject.line, reject.code) for reject in shown.rejects] == [
        (3, "NOT_AN_INTEGER"),
        (4, "NOT_NULL"),
        (5, "TOO_MANY_COLUMNS"),
    ]
    assert (shown.read, shown.rejected, len(shown.records)) == (4, 3, 1)
    assert yard.sql("SELECT * FROM t") == []
    assert not yard.work_dir.directory.exists()
    assert pickle.loads(pickle.dumps(shown)) == shown, "it comes from a worker process"


@pytest.mark.parametrize("text", ["", "id,n\n"])
def test_a_file_without_records(yard: Yard, text: str) -> None:
    shown = preview(yard, text)
    assert (shown.read, shown.whole, list(shown.records)) == (0, True, [])


def test_only_the_beginning_of_a_large_file_is_read(yard: Yard) -> None:
    shown = preview(yard, "id,n\n" + "1,2\n" * 1_000_000 + "x,3\n")
    assert shown.whole is False
    assert 0 < shown.read < 1_000_000
    assert len(shown.records) == 20


def test_a_spec_that_could_not_run_is_refused(yard: Yard) -> None:
    yard.sql("CREATE TABLE t (other)")
    with pytest.raises(InvalidSpec, match="no column 'id'"):
        preview(yard, "id,n\n1,2\n")

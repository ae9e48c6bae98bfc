"""Models as JSON, and specs from it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from lading_client.errors import BadSpec
from lading_client.json_format import as_json, spec_from_json
from lading_client.model import Bill, Job, Progress, State
from lading_client.spec import (
    ColumnMapping,
    ColumnNames,
    CreateTable,
    CsvFormat,
    Enumeration,
    ExcelFormat,
    ExportSpec,
    File,
    FixedWidthFormat,
    Header,
    ImportSpec,
    JobSpec,
    OnRestart,
    Ragged,
    Table,
    XmlFormat,
)

SPEC = JobSpec(
    kind=ImportSpec(
        files=(File(path="a.csv"),),
        csv=CsvFormat(header=Header.ABSENT),
        target=Table(table="t"),
        types={"header": "text", "on_restart": "date"},
        chunk_bytes=5_000_000_000,
    ),
    on_restart=OnRestart.STAY,
)


def test_a_job_as_json() -> None:
    job = Job(
        name="jobs/1",
        spec=SPEC,
        state=State.RUNNING,
        progress=Progress(percent=12.5, time_left=timedelta(seconds=90, milliseconds=500)),
        bill=Bill(read=5_000_000_000, ignored_doubles=1),
        create_time=datetime(2026, 3, 1, 12, 0, 0, 250000, tzinfo=UTC),
    )
    document = as_json(job)
    assert document["state"] == "RUNNING"
    assert document["progress"] == {"percent": 12.5, "recordsPerSecond": 0.0, "timeLeft": "90.5s"}
    assert document["bill"]["read"] == 5_000_000_000
    assert document["bill"]["ignoredDoubles"] == 1
    assert document["createTime"] == "2026-03-01T12:00:00.250000Z"
    assert "endTime" not in document
    assert "total" not in document["counters"]


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        JobSpec(kind=ImportSpec(files=(File(path="a"),), target=Table(table="t"))),
        JobSpec(
            kind=ImportSpec(
                files=(File(path="a"),), target=Table(table="t"), excel=ExcelFormat(sheet="2", header_lines=2)
            )
        ),
        JobSpec(kind=ImportSpec(files=(File(path="a"),), target=Table(table="t"), flatten=True)),
        JobSpec(
            kind=ImportSpec(
                files=(File(path="a"),),
                target=Table(table="t"),
                create=CreateTable.NEVER,
                names=ColumnNames.SNAKE,
                add_columns=True,
                provenance=True,
                before=("DELETE FROM t", "SELECT 1"),
                after=("SELECT 2",),
            )
        ),
        JobSpec(
            kind=ImportSpec(
                files=(File(path="a"),),
                target=Table(table="t"),
                columns=(
                    ColumnMapping(source="a", target="b", transformations=("trim",), default_value="", lookup="header"),
                    ColumnMapping(target="c", expression="$create"),
                ),
                ignored_columns=("x",),
                filter="a = 'b'",
                limit=3,
                variables={"create": "auto"},
                enumerations={"header": Enumeration(values={"ragged": "fill"}, ignore_case=True)},
            )
        ),
        JobSpec(kind=ImportSpec(files=(File(path="a"),), target=Table(table="t"), xml=XmlFormat(record_element="x"))),
        JobSpec(
            kind=ImportSpec(
                files=(File(path="a"),),
                target=Table(table="t"),
                fixed_width=FixedWidthFormat(widths="1,2", header=Header.ABSENT, skip_lines=0, ragged=Ragged.FILL),
            )
        ),
        JobSpec(kind=ExportSpec(table=Table(table="t"), file=File(path="o"), overwrite=True)),
        JobSpec(
            kind=ExportSpec(table=Table(table="t"), file=File(path="o"), fixed_width=FixedWidthFormat(widths="a=*"))
        ),
    ],
)
def test_a_spec_that_was_shown_can_be_run_again(spec: JobSpec) -> None:
    assert spec_from_json(json.loads(json.dumps(as_json(spec)))) == spec


def test_a_spec_may_be_written_as_proto3_says() -> None:
    document = {
        "import_spec": {"files": [{"path": "a.csv"}], "csv": {"header": "HEADER_ABSENT"}, "target": {"table": "t"}},
        "onRestart": "ON_RESTART_STAY",
    }
    spec = spec_from_json(document)
    assert spec.on_restart is OnRestart.STAY
    assert isinstance(spec.kind, ImportSpec)
    assert spec.kind.csv.header is Header.ABSENT


@pytest.mark.parametrize(
    "document", [{}, {"importSpec": {"fils": []}}, {"importSpec": {"chunkBytes": "x"}}, {"onRestart": "MAYBE"}]
)
def test_what_is_no_spec_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(BadSpec):
        spec_from_json(document)

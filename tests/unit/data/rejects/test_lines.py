"""The file of a chunk's rejects: the same bytes as json writes for each."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from ladingd.core.job import Connector, Reject, RejectType
from ladingd.data.formats.csv.parser import RecordPlaces, without_line_end
from ladingd.data.rejects.fault import Fault, Faults
from ladingd.data.rejects.files import RejectFiles
from ladingd.data.rejects.lines import json_lines, write_rejects
from ladingd.data.storage.work_dir import WorkDir

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

UID = "0123456789abcdef0123456789abcdef"
KEYS = ("type", "time", "file", "line", "record", "raw", "column", "value", "connector", "code", "message")
HARD = ["", '"', "\\", '\\"\\\\', "\n", "\r\n\t", "\0\x1f\x7f", "\u2028é𝄞", "plain", "/", '\b"\\\f', "\ufffd"]


def in_columns(rejects: Sequence[Reject]) -> pa.RecordBatch:
    """Rejects in the writer's form."""
    rows = [asdict(each) | {"time": each.time.isoformat()} for each in rejects]
    return pa.RecordBatch.from_pydict({key: pa.array([row[key] for row in rows]) for key in KEYS})


def some_rejects(number: int) -> list[Reject]:
    chance = random.Random(5)
    return [
        Reject(
            type=chance.choice(list(RejectType)),
            time=datetime(2026, 3, 1, 1, 2, 3, 4, tzinfo=UTC),
            file='in "x".csv',
            line=1 << chance.randrange(50),
            record=record,
            raw="".join(chance.choices(HARD, k=3)),
            column=chance.choice(HARD),
            value=chance.choice(HARD),
            connector=chance.choice(list(Connector)),
            code=chance.choice(["NOT_NULL", "CONSTRAINT"]),
            message=chance.choice(HARD),
        )
        for record in range(number)
    ]


@pytest.mark.parametrize("number", [1, 7, 5_000])
async def test_lines_are_what_json_makes_of_each_reject(tmp_path: Path, number: int) -> None:
    rejects = some_rejects(number)
    path = WorkDir(directory=tmp_path).rejects(UID, 0)
    write_rejects(path, json_lines(in_columns(rejects[first : first + 999]) for first in range(0, number, 999)))
    *lines, groups = path.read_bytes().decode().split("\n")[:-1]
    ids = [json.loads(line)["group"] for line in lines]
    rows = ({**asdict(each), "time": each.time.isoformat(), "group": id} for each, id in zip(rejects, ids, strict=True))
    assert lines == [
        json.dumps({key: row[key] for key in (*KEYS, "group")}, ensure_ascii=False, separators=(",", ":"))
        for row in rows
    ]
    assert sum(group["count"] for group in json.loads(groups)["groups"]) == number
    page = await RejectFiles(WorkDir(directory=tmp_path)).read(UID, [0], size=7)
    assert page.items == tuple(replace(each, group=id) for each, id in zip(rejects[:7], ids, strict=False))


def test_no_rejects_leave_no_file(tmp_path: Path) -> None:
    path = WorkDir(directory=tmp_path).rejects(UID, 0)
    write_rejects(path, json_lines([in_columns(some_rejects(1))]))
    write_rejects(path, json_lines([]))
    assert not path.exists()


def test_raw_texts_of_records_are_slices_of_the_data() -> None:
    chance = random.Random(6)
    for _ in range(300):
        records = [
            chance.choice([b"", b"a", b"a\rb", b"\xff,1", b"\xc3\xa9"]) + chance.choice([b"\n", b"\r\n", b"\r", b"\n"])
            for _ in range(chance.randrange(1, 9))
        ]
        data = b"".join(records)
        ends = np.cumsum([len(record) for record in records])
        starts = np.concatenate(([0], ends[:-1]))
        places = RecordPlaces(starts=starts, ends=ends, line_ends=ends)
        indexes = np.array(sorted(chance.choices(range(len(records)), k=chance.randrange(12))), np.int64)
        expected = [without_line_end(data[starts[index] : ends[index]]) for index in indexes]
        assert places.raw(data, indexes).to_pylist() == expected


def test_faults_in_columns_are_the_same_faults() -> None:
    single = [Fault(index=4, code="A", message="m", column="c", value="v"), Fault(index=1, code="B", message="n")]
    alike = Faults.alike(np.array([2, 3]), code="C", message=pa.array(["x", "y"]), connector=Connector.DATABASE)
    faults = (Faults.of(single) + alike + Faults.of([])).in_order()
    assert list(faults) == [
        single[1],
        Fault(index=2, code="C", message="x", connector=Connector.DATABASE),
        Fault(index=3, code="C", message="y", connector=Connector.DATABASE),
        single[0],
    ]

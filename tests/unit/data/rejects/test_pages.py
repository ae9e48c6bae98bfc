"""Pages of rejects: limited by bytes and by number, with complete rejects."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ladingd.core.errors import RejectsLost
from ladingd.core.job import Connector, Reject
from ladingd.data.rejects.files import PAGE_BYTES, RejectFiles
from ladingd.data.rejects.lines import json_lines, write_rejects
from ladingd.data.storage.work_dir import WorkDir
from tests.unit.data.rejects.test_lines import in_columns

if TYPE_CHECKING:
    from pathlib import Path

UID = "0123456789abcdef0123456789abcdef"


def reject(record: int, raw: str) -> Reject:
    return Reject(
        time=datetime(2026, 3, 1, tzinfo=UTC),
        file="a.csv",
        line=record,
        record=record,
        raw=raw,
        column="",
        value="",
        connector=Connector.TEXT,
        code="TOO_FEW_COLUMNS",
        message="1 column, expected 2",
    )


def keep(path: Path, rejects: list[Reject]) -> None:
    write_rejects(path, json_lines([in_columns(rejects)]))


async def test_a_page_holds_as_many_rejects_as_fit_into_a_message(tmp_path: Path) -> None:
    lengths = [PAGE_BYTES // 3] * 4 + [16 << 20] + [10] * 5
    expected = [reject(number, "\u00e9" * (length // 2)) for number, length in enumerate(lengths)]
    place = WorkDir(directory=tmp_path)
    for chunk, some in enumerate((expected[:2], expected[2:])):
        keep(place.rejects(UID, chunk), some)
    files, token, pages = RejectFiles(place), "", []
    while True:
        page = await files.read(UID, [0, 1], size=100, token=token)
        pages.append(page.items)
        if not (token := page.next_token):
            break
    assert [replace(each, group="") for page in pages for each in page] == expected
    assert [len(page) for page in pages] == [2, 2, 1, 5]


async def every_reject(files: RejectFiles, chunks: list[int], size: int) -> list[int]:
    """The records of all pages. A negative number is the number of lost files that the last page reports."""
    records, token = [], ""
    while True:
        try:
            page = await files.read(UID, chunks, size=size, token=token)
        except RejectsLost as lost:
            return [*records, -lost.chunks]
        records += [each.record for each in page.items]
        if not (token := page.next_token):
            return records


async def test_rejects_whose_file_was_removed_are_told_after_all_others(tmp_path: Path) -> None:
    place = WorkDir(directory=tmp_path)
    chunks = [0, 1, 3]
    for chunk in chunks:
        keep(place.rejects(UID, chunk), [reject(10 * chunk + number, "x") for number in (1, 2)])
    files = RejectFiles(place)
    assert await every_reject(files, chunks, 100) == [1, 2, 11, 12, 31, 32]
    place.rejects(UID, 1).unlink()
    for size in (1, 2, 3, 100):
        assert await every_reject(files, chunks, size) == [1, 2, 31, 32, -1]
    place.rejects(UID, 3).unlink()
    assert await every_reject(files, chunks, 100) == [1, 2, -2]
    last = (await files.read(UID, chunks, size=2)).next_token
    keep(place.rejects(UID, 1), [reject(11, "x")])
    keep(place.rejects(UID, 3), [reject(31, "x")])
    assert (await files.read(UID, chunks, size=2, token=last)).items == (), "they are back"
    assert await every_reject(files, chunks, 100) == [1, 2, 11, 31]

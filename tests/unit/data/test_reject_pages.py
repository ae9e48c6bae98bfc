"""Pages of rejects: bounded by bytes as well as by number, and every reject whole."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ladingd.core.job import Connector, Reject
from ladingd.data.rejects import PAGE_BYTES, RejectFiles, write_rejects
from ladingd.data.workplace import Workplace

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


async def test_a_page_holds_as_many_rejects_as_fit_into_a_message(tmp_path: Path) -> None:
    lengths = [PAGE_BYTES // 3] * 4 + [16 << 20] + [10] * 5
    expected = [reject(number, "\u00e9" * (length // 2)) for number, length in enumerate(lengths)]
    place = Workplace(directory=tmp_path)
    for chunk, some in enumerate((expected[:2], expected[2:])):
        write_rejects(place.rejects(UID, chunk), some)
    files, token, pages = RejectFiles(tmp_path), "", []
    while True:
        page = await files.read(UID, [0, 1], size=100, token=token)
        pages.append(page.items)
        if not (token := page.next_token):
            break
    assert [each for page in pages for each in page] == expected
    assert [len(page) for page in pages] == [2, 2, 1, 5]

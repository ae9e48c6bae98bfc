"""Groups of rejects: computed while they are written, and read from the last line of each file."""

from __future__ import annotations

import random
import re
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from ladingd.core.errors import RejectsLost
from ladingd.core.job import Connector, Reject, RejectType
from ladingd.core.reject_group import OTHERS, Place, RejectFilter
from ladingd.data.rejects.files import RejectFiles
from ladingd.data.rejects.lines import json_lines, write_rejects
from ladingd.data.storage.work_dir import WorkDir
from tests.unit.data.rejects.test_lines import UID, in_columns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def reject(
    record: int, value: str, column: str = "born", code: str = "NO_DATE", connector: Connector = Connector.TEXT
) -> Reject:
    return Reject(
        time=datetime(2026, 3, 1, tzinfo=UTC),
        file="in.csv",
        line=record + 1,
        record=record,
        raw=f"{record},{value}",
        column=column,
        value=value,
        connector=connector,
        code=code,
        message=f"'{value}' is no date",
        type=RejectType.ERROR,
    )


@pytest.fixture
def work_dir(tmp_path: Path) -> WorkDir:
    return WorkDir(directory=tmp_path)


def keep(work_dir: WorkDir, chunk: int, rejects: Sequence[Reject], block: int = 999) -> None:
    blocks = (in_columns(rejects[first : first + block]) for first in range(0, len(rejects), block))
    write_rejects(work_dir.rejects(UID, chunk), json_lines(blocks))


@pytest.mark.parametrize(
    ("value", "pattern"),
    [
        ("31/12/1980", "9/9/9"),
        ("1,5", "9,9"),
        ("unbekannt", "a"),
        ("M\u00fcller", "a"),
        ("  12  ab\t3", " 9 a 9"),
        ("\u0663\u0664 Uhr", "9 a"),
        ("", ""),
        ("-1e5", "-9a9"),
        ("x" * 100, "a"),
        ("1." * 40, "9." * 16),
    ],
)
async def test_the_pattern_of_a_value(work_dir: WorkDir, value: str, pattern: str) -> None:
    keep(work_dir, 0, [reject(1, value)])
    (group,) = await RejectFiles(work_dir).groups(UID, [0])
    assert group.pattern == pattern


async def test_what_a_database_refuses_is_one_group(work_dir: WorkDir) -> None:
    keep(work_dir, 0, [reject(n, "x" * n + str(n), code="UNIQUE", connector=Connector.DATABASE) for n in range(1, 9)])
    (group,) = await RejectFiles(work_dir).groups(UID, [0])
    assert (group.pattern, group.count) == ("", 8)


async def test_groups_of_several_chunks_are_those_of_all_rejects(work_dir: WorkDir) -> None:
    chance = random.Random(7)
    kinds = [("1/2/2000", "born", "NO_DATE"), ("1,5", "n", "NO_NUMBER"), ("2,75", "n", "NO_NUMBER"), ("NA", "n", "X")]
    rejects = [reject(n, *kind) for n, kind in enumerate(chance.choices(kinds, weights=(50, 20, 20, 1), k=5_000), 1)]
    for chunk in range(5):
        keep(work_dir, chunk, rejects[chunk * 1000 : chunk * 1000 + 1000], block=300)
    found = await RejectFiles(work_dir).groups(UID, range(5))
    # Computed independently.
    pattern = {each: re.sub(r"\d+", "9", re.sub("[A-Z]+", "a", each)) for each, _, _ in kinds}
    expected = Counter((each.column, each.code, pattern[each.value]) for each in rejects)
    assert [((group.column, group.code, group.pattern), group.count) for group in found] == expected.most_common()
    for group in found:
        members = [each for each in rejects if (each.column, each.code) == (group.column, group.code)]
        assert group.places == tuple(Place(file="in.csv", line=each.line) for each in members[:3])
        assert group.values == tuple(dict.fromkeys(each.value for each in members))[:3]
        assert group.message == members[0].message


async def test_rejects_of_one_group_column_or_code(work_dir: WorkDir) -> None:
    rejects = [reject(n, "x", "a" if n % 3 else "b", "ODD" if n % 2 else "EVEN") for n in range(1, 40)]
    keep(work_dir, 0, rejects[:20])
    keep(work_dir, 7, rejects[20:])
    files = RejectFiles(work_dir)
    groups = await files.groups(UID, [0, 7])
    assert len({group.id for group in groups}) == 4

    async def records(wanted: RejectFilter) -> list[int]:
        found: list[int] = []
        token = ""
        while True:
            page = await files.read(UID, [0, 7], size=3, token=token, wanted=wanted)
            found += [each.record for each in page.items]
            if not (token := page.next_token):
                return found

    for group in groups:
        members = [each.record for each in rejects if (each.column, each.code) == (group.column, group.code)]
        assert await records(RejectFilter(group=group.id)) == members
        assert await records(RejectFilter(column=group.column, code=group.code)) == members
    assert await records(RejectFilter(column="b")) == list(range(3, 40, 3))
    assert await records(RejectFilter(group="00000000")) == []


async def test_too_many_patterns_have_one_group_for_the_rest(work_dir: WorkDir) -> None:
    marks = [f"{a}{b}" for a in "!?.,;:-+" for b in "!?.,;:-+*"]
    rejects = [reject(n, marks[n % len(marks)]) for n in range(1, 1000)]
    keep(work_dir, 0, rejects, block=100)
    files = RejectFiles(work_dir)
    found = await files.groups(UID, [0])
    assert len(found) == 51
    assert sum(group.count for group in found) == len(rejects)
    (others,) = [group for group in found if group.pattern == OTHERS]
    page = await files.read(UID, [0], size=1000, wanted=RejectFilter(group=others.id))
    assert len(page.items) == others.count


async def test_long_last_lines_are_read_whole(work_dir: WorkDir) -> None:
    rejects = [reject(n, f"{n}", column=f"column {n} {'x' * 1000}") for n in range(1, 500)]
    keep(work_dir, 0, rejects)
    assert len(await RejectFiles(work_dir).groups(UID, [0])) == len(rejects)


async def test_groups_of_lost_rejects(work_dir: WorkDir) -> None:
    keep(work_dir, 0, [reject(1, "x")])
    with pytest.raises(RejectsLost):
        await RejectFiles(work_dir).groups(UID, [0, 1])

"""What stands in the work directory of jobs that nobody knows."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ladingd.data.storage.work_dir import Workplace

if TYPE_CHECKING:
    from pathlib import Path


def test_strangers_are_kept_for_a_time(tmp_path: Path) -> None:
    workplace = Workplace(directory=tmp_path)
    workplace.forget_orphans(before=0.0)
    for uid in ("one", "two"):
        workplace.rejects(uid, 0).parent.mkdir(parents=True)
        workplace.rejects(uid, 0).write_text("{}")
    (tmp_path / "jobs" / "lost+found").mkdir()
    assert sorted(workplace.uids()) == ["one", "two"]
    os.utime(workplace.job("one"), (1.0, 1.0))  # Its age as a job says nothing.
    for uid in ("one", "two"):
        workplace.set_aside(uid)
    assert workplace.uids() == []
    strangers = tmp_path / "strangers"
    since = (strangers / "one").stat().st_mtime
    workplace.forget_orphans(before=since)
    os.utime(strangers / "two", (since - 1, since - 1))
    workplace.forget_orphans(before=since)
    assert [path.relative_to(strangers).as_posix() for path in strangers.rglob("*.jsonl")] == [
        "one/rejects/000000.jsonl"
    ]

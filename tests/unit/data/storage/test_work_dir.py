"""Files of unknown jobs in the work directory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ladingd.data.storage.work_dir import WorkDir

if TYPE_CHECKING:
    from pathlib import Path


def test_strangers_are_kept_for_a_time(tmp_path: Path) -> None:
    work_dir = WorkDir(directory=tmp_path)
    work_dir.forget_orphans(before=0.0)
    for uid in ("one", "two"):
        work_dir.rejects(uid, 0).parent.mkdir(parents=True)
        work_dir.rejects(uid, 0).write_text("{}")
    (tmp_path / "jobs" / "lost+found").mkdir()
    assert sorted(work_dir.uids()) == ["one", "two"]
    os.utime(work_dir.job("one"), (1.0, 1.0))  # Its age as a job does not count.
    for uid in ("one", "two"):
        work_dir.set_aside(uid)
    assert work_dir.uids() == []
    strangers = tmp_path / "strangers"
    since = (strangers / "one").stat().st_mtime
    work_dir.forget_orphans(before=since)
    os.utime(strangers / "two", (since - 1, since - 1))
    work_dir.forget_orphans(before=since)
    assert [path.relative_to(strangers).as_posix() for path in strangers.rglob("*.jsonl")] == [
        "one/rejects/000000.jsonl"
    ]

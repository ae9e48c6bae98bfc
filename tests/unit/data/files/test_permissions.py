"""Files of other users: the permissions of the daemon's user decide, and errors name what is missing."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ladingd.core.errors import InvalidSpec, TargetUnavailable
from ladingd.core.spec import File, Table
from ladingd.data.databases.sqlite.session import connected, is_there
from ladingd.data.databases.sqlite.target import SqliteTarget
from ladingd.data.files.roots import open_beneath
from ladingd.data.storage.work_dir import WorkDir
from tests.harness.users import common_user

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def closed() -> Iterator[Path]:
    """A directory that nobody may list, with a file that everybody may read."""
    directory = Path(tempfile.mkdtemp(prefix="lading-"))
    (directory / "in.csv").write_text("id\n1\n")
    directory.chmod(0o111)
    yield directory
    directory.chmod(0o700)
    shutil.rmtree(directory)


def test_a_directory_that_may_be_passed_through_need_not_be_listed(closed: Path) -> None:
    with (
        common_user(),
        open_beneath({"root": closed.parent}, {}, File(root="root", path=f"{closed.name}/in.csv")) as it,
    ):
        assert it.read(0, 4) == b"id\n1"


def test_a_database_in_a_directory_that_may_not_be_passed_is_told_of(closed: Path) -> None:
    assert is_there(closed / "in.csv")
    assert not is_there(closed / "none.db")
    assert not is_there(closed / "in.csv" / "none.db")
    closed.chmod(0o000)
    with common_user(), pytest.raises(TargetUnavailable, match=r"^in\.csv: the daemon may not look into the directory"):
        is_there(closed / "in.csv")


def test_a_database_that_may_not_be_written_is_refused_before_a_job_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = SqliteTarget(path=tmp_path / "x.db", work_dir=WorkDir(directory=tmp_path))
    target.path.touch()
    assert target.table(Table(table="t")) is None
    # access() checks the real user, which is still root in this test.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != target.path)
    with pytest.raises(InvalidSpec, match=r"x\.db: the daemon may not write to the file"):
        target.table(Table(table="t"))


def test_foreign_keys_that_sqlite_does_not_check_are_told_of(tmp_path: Path) -> None:
    target = SqliteTarget(path=tmp_path / "x.db", work_dir=WorkDir(directory=tmp_path))
    with connected(target.path, create=True) as database:
        database.run("CREATE TABLE t (id INTEGER REFERENCES parent)")
        database.commit()
    table = target.table(Table(table="t"))
    assert table is not None
    assert "(to parent) are not checked" in table.notes[0]

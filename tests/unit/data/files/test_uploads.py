"""Keeping files that clients send, and opening files below roots."""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ladingd.core.errors import FileNotFound, InvalidSpec, SourceUnreadable, UploadMismatch
from ladingd.core.files import Announcement
from ladingd.core.spec import File
from ladingd.data.files import roots as files
from ladingd.data.files.downloads import RootFiles
from ladingd.data.files.roots import destination_directory, destination_path, open_source, reopen_source
from ladingd.data.files.uploads import reception as upload_reception
from ladingd.data.files.uploads.quota import UploadRoom
from ladingd.data.files.uploads.store import UploadFiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ladingd.core.files import Upload
    from ladingd.data.files.own_files import Guard

ID = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
DAY = timedelta(hours=24)
CONTENT = b"id,name\n1,Ada\n"


OWNER = "ada"


def files_in(directory: Path, **limits: int) -> UploadFiles:
    return UploadFiles(UploadRoom(directory=directory, disk_reserve=0, **limits))


def announced(content: bytes = CONTENT, upload_id: str = ID) -> Announcement:
    digest = hashlib.sha256(content).digest()
    return Announcement(upload_id=upload_id, file_name="people.csv", size=len(content), sha256=digest)


async def send(store: UploadFiles, content: bytes = CONTENT, upload_id: str = ID) -> Upload:
    async with store.receive(announced(content, upload_id), 0, OWNER) as coming:
        await coming.write(content)
        return await coming.finish()


async def send_half(store: UploadFiles, upload_id: str = ID) -> None:
    async with store.receive(announced(upload_id=upload_id), 0, OWNER) as coming:
        await coming.write(CONTENT[:7])


async def unused(file: File) -> bool:
    return False


@pytest.fixture
def store(tmp_path: Path) -> UploadFiles:
    return files_in(tmp_path)


def everything(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


async def test_a_daemon_that_was_killed_goes_on_with_what_is_there(store: UploadFiles, tmp_path: Path) -> None:
    async with store.receive(announced(), 0, OWNER) as coming:
        await coming.write(CONTENT[:7])
        later = files_in(tmp_path)
        assert (await later.get(ID)).received == 7
        async with later.receive(announced(), 7, OWNER) as going_on:
            await going_on.write(CONTENT[7:])
            upload = await going_on.finish()
    assert upload.complete
    assert (store.root / ID / "people.csv").read_bytes() == CONTENT
    assert await files_in(tmp_path).get(ID) == upload


async def test_half_a_file_is_not_beneath_the_root(store: UploadFiles, tmp_path: Path) -> None:
    await send_half(store)
    assert everything(store.root) == []
    assert everything(tmp_path) == [f"receiving/{ID}.json", f"receiving/{ID}.owner", f"receiving/{ID}.part"]
    await send(store)
    assert everything(tmp_path) == [f"receiving/{ID}.json", f"receiving/{ID}.owner", f"uploads/{ID}/people.csv"]


async def test_what_comes_is_made_durable_on_the_way(store: UploadFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_reception, "SYNC_BYTES", 1000)
    sizes: list[int] = []
    sync = os.fdatasync

    def noting(descriptor: int) -> None:
        sizes.append(os.fstat(descriptor).st_size)
        sync(descriptor)

    monkeypatch.setattr(os, "fdatasync", noting)
    content = b"x" * 2500
    async with store.receive(announced(content), 0, OWNER) as coming:
        for at in range(0, 2500, 500):
            await coming.write(content[at : at + 500])
        assert sizes == [1000, 2000]
        await coming.finish()
    assert sizes == [1000, 2000, 2500]


async def test_what_broke_off_is_made_durable(store: UploadFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
    await send_half(store)
    assert sizes == [7]


async def test_nothing_comes_after_another_one_took_over(store: UploadFiles) -> None:
    told: list[str] = []
    async with store.receive(announced(), 0, OWNER) as former:
        former.when_taken_over(lambda: told.append("former"))
        await former.write(CONTENT[:7])
        async with store.receive(announced(), 3, OWNER) as later:
            assert told == ["former"]
            with pytest.raises(UploadMismatch):
                await former.write(CONTENT[7:])
            with pytest.raises(UploadMismatch):
                await former.finish()
            await later.write(CONTENT[3:])
            await later.finish()
    assert (store.root / ID / "people.csv").read_bytes() == CONTENT


async def test_a_sending_that_is_cancelled_while_it_begins_lets_go(store: UploadFiles) -> None:
    for turns in range(6):
        task = asyncio.create_task(send_half(store, str(uuid.uuid4())))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=10)
    async with asyncio.timeout(10):
        while store._running:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


def export_into(store: UploadFiles, upload_id: str) -> None:
    """Create the files of an export."""
    file = File(root="uploads", path=f"{upload_id}/out.csv")
    directory = destination_directory({"uploads": store.root}, file, make=True)
    (directory.path / "out.csv").write_bytes(b"x")


async def test_sweeping(store: UploadFiles, tmp_path: Path) -> None:
    """Incomplete uploads expire after their last data, complete ones after their last use."""
    half, whole, used, export = (str(uuid.uuid4()) for _ in range(4))
    await send_half(store, half)
    await send(store, upload_id=whole)
    await send(store, upload_id=used)
    export_into(store, export)
    now = datetime.now(UTC)
    asked: list[File] = []

    async def in_use(file: File) -> bool:
        asked.append(file)
        return file.path == used

    assert await store.sweep(now + DAY - timedelta(minutes=5), in_use) == ()
    assert sorted(file.path for file in asked) == sorted([half, whole, used, export])
    assert {file.root for file in asked} == {"uploads"}
    async with store.receive(announced(upload_id=half), 7, OWNER):
        # More data may arrive at any time.
        assert await store.sweep(now + DAY + timedelta(minutes=5), in_use) == tuple(sorted([whole, export]))
    assert await store.sweep(now + DAY + timedelta(minutes=5), in_use) == (half,)
    left = [f"receiving/{used}.json", f"receiving/{used}.owner", f"uploads/{used}/people.csv"]
    assert everything(tmp_path) == left
    # The file was in use a day after its arrival.
    assert await store.sweep(now + 2 * DAY - timedelta(minutes=10), unused) == ()
    assert await store.sweep(now + 2 * DAY + timedelta(minutes=10), unused) == (used,)
    assert everything(tmp_path) == []


async def test_an_id_is_theirs_who_have_named_it_first_until_it_is_removed(store: UploadFiles) -> None:
    assert await store.owner(ID) == ""
    assert await store.claim(ID, "ada") == "ada"
    assert await store.claim(ID, "bob") == "ada"
    with pytest.raises(UploadMismatch, match="belongs to somebody else"):
        async with store.receive(announced(), 0, "bob"):
            pass
    await send(store)
    assert await store.owner(ID) == OWNER == "ada"
    await store.delete(ID, unused)
    assert await store.claim(ID, "bob") == "bob"


async def test_a_claim_without_a_file_is_swept(store: UploadFiles) -> None:
    await store.claim(ID, "ada")
    now = datetime.now(UTC)
    assert await store.sweep(now, unused) == ()
    assert await store.sweep(now + DAY + timedelta(minutes=5), unused) == (ID,)
    assert await store.owner(ID) == ""


async def test_a_claim_lasts_as_long_as_a_job_may_export_there(store: UploadFiles) -> None:
    await store.claim(ID, "ada")
    now = datetime.now(UTC)

    async def in_use(file: File) -> bool:
        return file.path == ID

    assert await store.sweep(now + 2 * DAY, in_use) == ()
    assert await store.sweep(now + 2 * DAY + timedelta(hours=1), unused) == ()
    assert await store.owner(ID) == "ada"


async def test_a_plan_or_a_download_counts_as_use(store: UploadFiles, tmp_path: Path) -> None:
    roots = {"uploads": store.root}
    upload = await send(store)
    old = datetime.now(UTC).timestamp() - 90_000

    def age() -> None:
        for path in (store.root / ID, *(store.root / ID).iterdir(), *(tmp_path / "receiving").iterdir()):
            os.utime(path, (old, old))

    age()
    open_source(roots, {}, upload.file).__exit__()
    assert await store.sweep(datetime.now(UTC), unused) == ()
    age()
    async with RootFiles(roots, {}).send(upload.file, 0):
        pass
    assert await store.sweep(datetime.now(UTC), unused) == ()
    age()
    assert await store.sweep(datetime.now(UTC), unused) == (ID,)


async def test_what_a_crash_leaves_is_swept(store: UploadFiles, tmp_path: Path) -> None:
    await send_half(store)
    (tmp_path / "receiving" / f"{ID}.part").unlink()
    assert (await store.get(ID)).received == 0
    assert await store.sweep(datetime.now(UTC) + 2 * DAY, unused) == (ID,)
    with pytest.raises(FileNotFound):
        await store.get(ID)


async def test_what_an_export_has_left_can_be_deleted(store: UploadFiles) -> None:
    export_into(store, ID)
    await store.delete(ID, unused)
    assert list(store.root.iterdir()) == []
    with pytest.raises(FileNotFound):
        await store.delete(ID, unused)


def test_exports_beneath_the_uploads_get_a_directory_of_their_own(tmp_path: Path) -> None:
    roots = {"uploads": tmp_path / "uploads", "local": tmp_path}
    path = destination_path(roots, File(root="uploads", path=f"{ID}/out.csv"))
    assert path == tmp_path / "uploads" / ID / "out.csv"
    assert not path.parent.parent.exists()
    destination_directory(roots, File(root="uploads", path=f"{ID}/out.csv"), make=True)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert destination_path(roots, File(root="uploads", path=f"{ID}/out.csv")) == path
    for inner in ("out.csv", "a/out.csv", f"{ID}/a/out.csv", f"{ID}/.out.csv", ID, f"{ID}/../x/out.csv"):
        with pytest.raises(InvalidSpec) as caught:
            destination_path(roots, File(root="uploads", path=inner))
        assert caught.value.field == "file.path"
    with pytest.raises(InvalidSpec, match="does not exist"):
        destination_path(roots, File(root="local", path=f"{ID}/out.csv"))
    assert [path.name for path in (tmp_path / "uploads").iterdir()] == [ID]


def swapped_in_the_middle(monkeypatch: pytest.MonkeyPatch, swap: Callable[[], None]) -> None:
    """Change the files between the check of the path and the open."""
    open_below = files._open_below

    def later(base: Path, inner: Path, guard: Guard) -> int:
        swap()
        return open_below(base, inner, guard)

    monkeypatch.setattr(files, "_open_below", later)


@pytest.mark.parametrize("what", ["file", "directory"])
@pytest.mark.parametrize("absolute", [True, False])
def test_a_link_that_is_put_there_in_the_middle_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, absolute: bool
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for directory in (root / "sub", outside):
        directory.mkdir(parents=True)
        (directory / "a.csv").write_text("a\n1\n")
    place = root / "sub" / "a.csv" if what == "file" else root / "sub"
    target = outside / "a.csv" if what == "file" else outside

    def swap() -> None:
        place.rename(root / "kept")
        place.symlink_to(target if absolute else os.path.relpath(target, place.parent))

    file = File(root="files", path="sub/a.csv")
    reopen_source({"files": root}, {}, file).__exit__()
    swapped_in_the_middle(monkeypatch, swap)
    with pytest.raises(SourceUnreadable):
        reopen_source({"files": root}, {}, file)


def test_a_device_that_is_put_there_in_the_middle_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    opened: list[Any] = []
    real = os.open

    def noting(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        if not flags & os.O_PATH:
            opened.append(path)
        return real(path, flags, *arguments, **named)

    def swap() -> None:
        (tmp_path / "a.csv").unlink()
        os.mkfifo(tmp_path / "a.csv")

    swapped_in_the_middle(monkeypatch, swap)
    monkeypatch.setattr(os, "open", noting)
    with pytest.raises(InvalidSpec, match="not a regular file"):
        open_source({"files": tmp_path}, {}, File(root="files", path="a.csv"))
    assert not [path for path in opened if "a.csv" in str(path) or "/proc/self/fd" in str(path)]

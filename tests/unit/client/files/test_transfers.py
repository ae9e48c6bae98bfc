"""Uploads and downloads of the client library, with a service that breaks connections."""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2 as details

from lading.v1 import file_service_pb2 as pb
from lading.v1 import file_service_pb2_grpc
from lading_client.errors import FileNotFound, QuotaExceeded, Unavailable, UploadMismatch
from lading_client.files.download import download
from lading_client.files.persistence import FileChanged
from lading_client.files.upload import delete_upload, upload
from lading_client.spec import File
from lading_client.transport.calls import Calls
from tests.unit.client.conftest import DEADLINE
from tests.unit.client.fake_service import abort
from tests.unit.client.service_transport import ServiceTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MIB = 1 << 20
CONTENT = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(3 * MIB // 32)) + b"end"


class FakeFiles(file_service_pb2_grpc.FileServiceServicer):
    """Keeps uploads in memory, and serves one file."""

    def __init__(self) -> None:
        self.begun: list[pb.UploadFileRequest.Begin] = []
        self.kept: dict[str, bytearray] = {}
        self.breaks: list[int] = []
        """For each future upload or download, the number of bytes after which it breaks."""
        self.refusals: list[tuple[grpc.StatusCode, str]] = []
        self.refuse_after_beginning = False
        self.asked: list[int] = []
        self.content = CONTENT
        self.etag = "one"
        self.deleted: list[str] = []

    async def _refuse(self, context: Any) -> None:
        if self.refusals:
            code, reason = self.refusals.pop(0)
            info = details.ErrorInfo(reason=reason, domain="lading")
            await abort(context, code, "as the test wants", info)

    def _upload(self, begin: pb.UploadFileRequest.Begin) -> pb.Upload:
        received = len(self.kept[begin.upload_id])
        message = pb.Upload(name=f"uploads/{begin.upload_id}", received=received, size=begin.size)
        message.complete = received == begin.size
        message.file.root, message.file.path = "uploads", f"{begin.upload_id}/{begin.file_name}"
        return message

    async def UploadFile(self, request_iterator: AsyncIterator[pb.UploadFileRequest], context: Any) -> pb.Upload:
        begin = (await anext(request_iterator)).begin
        self.begun.append(begin)
        if not self.refuse_after_beginning:
            await self._refuse(context)
        left = self.breaks.pop(0) if self.breaks else None
        kept = self.kept.setdefault(begin.upload_id, bytearray())
        assert begin.offset <= len(kept)
        del kept[begin.offset :]
        await context.send_initial_metadata(())
        async for message in request_iterator:
            await self._refuse(context)
            kept += message.data
            if left is not None and len(kept) >= left:
                await abort(context, grpc.StatusCode.UNAVAILABLE, "broken off")
        if hashlib.sha256(kept).digest() != begin.sha256:
            info = details.ErrorInfo(reason="UPLOAD_MISMATCH", domain="lading", metadata={"size": "0"})
            await abort(context, grpc.StatusCode.FAILED_PRECONDITION, "another hash", info)
        return self._upload(begin)

    async def GetUpload(self, request: pb.GetUploadRequest, context: Any) -> pb.Upload:
        upload_id = request.name.removeprefix("uploads/")
        if upload_id not in self.kept:
            info = details.ErrorInfo(reason="FILE_NOT_FOUND", domain="lading")
            await abort(context, grpc.StatusCode.NOT_FOUND, "not there", info)
        return self._upload(self.begun[-1])

    async def DeleteUpload(self, request: pb.DeleteUploadRequest, context: Any) -> Any:
        from google.protobuf.empty_pb2 import Empty

        self.deleted.append(request.name)
        return Empty()

    async def DownloadFile(
        self, request: pb.DownloadFileRequest, context: Any
    ) -> AsyncIterator[pb.DownloadFileResponse]:
        self.asked.append(request.offset)
        await self._refuse(context)
        if request.offset > len(self.content):
            await abort(context, grpc.StatusCode.INVALID_ARGUMENT, "offset")
        left = self.breaks.pop(0) if self.breaks else None
        description = pb.DownloadFileResponse.Description(size=len(self.content), etag=self.etag)
        yield pb.DownloadFileResponse(description=description)
        for place in range(request.offset, len(self.content), 100_000):
            if left is not None and place >= left:
                await abort(context, grpc.StatusCode.UNAVAILABLE, "broken off")
            yield pb.DownloadFileResponse(data=self.content[place : place + 100_000])


@pytest.fixture
async def service() -> FakeFiles:
    return FakeFiles()


@pytest.fixture
async def calls(service: FakeFiles) -> AsyncIterator[Calls]:
    calls = Calls(ServiceTransport(service), timeout=5.0)
    calls.open()
    yield calls
    await calls.close()


@pytest.fixture
def local(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    path.write_bytes(CONTENT)
    return path


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


THERE = File(root="uploads", path="x/out.csv")


async def test_a_file_is_sent_whole(calls: Calls, service: FakeFiles, local: Path) -> None:
    seen: list[tuple[int, int]] = []
    stored = await upload(calls, local, progress=lambda gone, size: seen.append((gone, size)))
    [begin] = service.begun
    assert (begin.file_name, begin.size, begin.offset) == ("people.csv", len(CONTENT), 0)
    assert begin.sha256 == hashlib.sha256(CONTENT).digest()
    assert str(uuid.UUID(begin.upload_id)) == begin.upload_id
    assert stored.name == f"uploads/{begin.upload_id}"
    assert stored.file == File(root="uploads", path=f"{begin.upload_id}/people.csv")
    assert stored.size == len(CONTENT)
    assert service.kept[begin.upload_id] == CONTENT
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [gone for gone, _ in seen] == sorted(gone for gone, _ in seen)


async def test_an_empty_file_is_sent(calls: Calls, service: FakeFiles, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert (await upload(calls, tmp_path / "empty")).size == 0


async def test_an_upload_goes_on_where_it_broke_off(calls: Calls, service: FakeFiles, local: Path) -> None:
    service.breaks = [MIB, 2 * MIB]
    stored = await asyncio.wait_for(upload(calls, local), DEADLINE)
    offsets = [begin.offset for begin in service.begun]
    assert len(offsets) == 3
    assert 0 == offsets[0] < offsets[1] < offsets[2]
    assert len({begin.upload_id for begin in service.begun}) == 1
    assert service.kept[stored.name.removeprefix("uploads/")] == CONTENT


async def test_an_upload_of_another_process_goes_on(calls: Calls, service: FakeFiles, local: Path) -> None:
    upload_id = str(uuid.uuid4())

    def stop(gone: int, size: int) -> None:
        if gone > MIB:
            sending.cancel()

    sending = asyncio.create_task(upload(calls, local, upload_id=upload_id, progress=stop))
    with pytest.raises(asyncio.CancelledError):
        await sending
    await asyncio.wait_for(upload(calls, local, upload_id=upload_id), DEADLINE)
    assert service.begun[1].offset > 0
    assert service.kept[upload_id] == CONTENT
    await upload(calls, local, upload_id=upload_id)
    assert len(service.begun) == 2, "what is complete is not sent again"


@pytest.mark.parametrize("late", [False, True])
async def test_a_busy_daemon_is_asked_again(calls: Calls, service: FakeFiles, local: Path, late: bool) -> None:
    service.refuse_after_beginning = late
    service.refusals = [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS"),
        (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN"),
    ]
    await asyncio.wait_for(upload(calls, local), DEADLINE)
    assert len(service.begun) == 3


async def test_a_quota_is_no_reason_to_try_again(calls: Calls, service: FakeFiles, local: Path) -> None:
    service.refusals = [(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")]
    with pytest.raises(QuotaExceeded):
        await asyncio.wait_for(upload(calls, local), DEADLINE)
    assert len(service.begun) == 1


async def test_what_makes_no_progress_is_given_up(calls: Calls, service: FakeFiles, local: Path) -> None:
    service.refusals = [(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")] * 100
    with pytest.raises(Unavailable):
        await asyncio.wait_for(upload(calls, local, give_up_after=0.3), DEADLINE)
    assert 1 < len(service.begun) < 20


async def test_another_hash_is_said(calls: Calls, service: FakeFiles, local: Path) -> None:
    upload_id = str(uuid.uuid4())
    service.breaks = [MIB]
    with pytest.raises(Unavailable):
        await upload(calls, local, upload_id=upload_id, give_up_after=0)
    service.kept[upload_id][:3] = b"bad"
    with pytest.raises(UploadMismatch):
        await asyncio.wait_for(upload(calls, local, upload_id=upload_id), DEADLINE)


async def test_a_file_that_changes_while_it_is_sent(calls: Calls, service: FakeFiles, local: Path) -> None:
    def change(gone: int, size: int) -> None:
        with local.open("r+b") as file:
            file.write(b"other")
            file.truncate(MIB)

    with pytest.raises(FileChanged):
        await asyncio.wait_for(upload(calls, local, progress=change), DEADLINE)


async def test_only_regular_files_are_sent(calls: Calls, service: FakeFiles, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing"):
        with pytest.raises(OSError, match=str(path)):
            await asyncio.wait_for(upload(calls, path), DEADLINE)
    assert service.begun == []


async def test_an_upload_is_deleted(calls: Calls, service: FakeFiles) -> None:
    await delete_upload(calls, "uploads/x")
    assert service.deleted == ["uploads/x"]


async def test_a_file_is_fetched_whole(calls: Calls, service: FakeFiles, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    size = await download(calls, THERE, tmp_path / "out.csv", progress=lambda come, size: seen.append((come, size)))
    assert size == len(CONTENT)
    assert (tmp_path / "out.csv").read_bytes() == CONTENT
    assert names(tmp_path) == ["out.csv"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))


async def test_an_empty_file_is_fetched(calls: Calls, service: FakeFiles, tmp_path: Path) -> None:
    service.content = b""
    assert await download(calls, THERE, tmp_path / "out.csv") == 0
    assert (tmp_path / "out.csv").read_bytes() == b""


async def test_a_download_goes_on_where_it_broke_off(calls: Calls, service: FakeFiles, tmp_path: Path) -> None:
    service.breaks = [MIB, 2 * MIB]
    await asyncio.wait_for(download(calls, THERE, tmp_path / "out.csv"), DEADLINE)
    assert service.asked == [0, 1_100_000, 2_100_000]
    assert (tmp_path / "out.csv").read_bytes() == CONTENT


async def test_a_download_of_another_process_goes_on(calls: Calls, service: FakeFiles, tmp_path: Path) -> None:
    service.breaks = [MIB]
    with pytest.raises(Unavailable):
        await download(calls, THERE, tmp_path / "out.csv", give_up_after=0)
    [draft] = names(tmp_path)
    assert draft.startswith(".")
    assert (tmp_path / draft).stat().st_size == 1_100_000
    await asyncio.wait_for(download(calls, THERE, tmp_path / "out.csv"), DEADLINE)
    assert service.asked == [0, 0, 1_100_000]
    assert (tmp_path / "out.csv").read_bytes() == CONTENT
    assert names(tmp_path) == ["out.csv"]


@pytest.mark.parametrize("length", [100, len(CONTENT)])
async def test_another_file_is_fetched_from_the_beginning(
    calls: Calls, service: FakeFiles, tmp_path: Path, length: int
) -> None:
    service.breaks = [MIB]
    other = CONTENT[::-1][:length]

    def change(come: int, size: int) -> None:
        if come >= MIB:
            service.content, service.etag = other, "two"

    await asyncio.wait_for(download(calls, THERE, tmp_path / "out.csv", progress=change), DEADLINE)
    assert (tmp_path / "out.csv").read_bytes() == other
    assert names(tmp_path) == ["out.csv"]


async def test_what_is_there_is_not_overwritten(calls: Calls, service: FakeFiles, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        await download(calls, THERE, path)
    assert service.asked == []
    path.unlink()

    def come_first(come: int, size: int) -> None:
        path.write_text("mine")

    with pytest.raises(FileExistsError):
        await download(calls, THERE, path, progress=come_first)
    assert path.read_text() == "mine"
    await download(calls, THERE, path, overwrite=True)
    assert path.read_bytes() == CONTENT


async def test_what_is_not_there_leaves_nothing(calls: Calls, service: FakeFiles, tmp_path: Path) -> None:
    service.refusals = [(grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND")]
    with pytest.raises(FileNotFound):
        await download(calls, THERE, tmp_path / "out.csv")
    assert names(tmp_path) == []


async def test_two_downloads_to_one_place_do_not_mix(calls: Calls, service: FakeFiles, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    outcomes = await asyncio.wait_for(
        asyncio.gather(*(download(calls, THERE, path, overwrite=True) for _ in range(3)), return_exceptions=True),
        DEADLINE,
    )
    assert len(CONTENT) in outcomes
    assert all(outcome == len(CONTENT) or isinstance(outcome, OSError) for outcome in outcomes)
    assert path.read_bytes() == CONTENT


async def test_a_cancelled_download_leaves_its_draft_for_another_time(
    calls: Calls, service: FakeFiles, tmp_path: Path
) -> None:
    path = tmp_path / "out.csv"

    def stop(come: int, size: int) -> None:
        if come > MIB:
            fetching.cancel()

    fetching = asyncio.create_task(download(calls, THERE, path, progress=stop))
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert not path.exists()
    await asyncio.wait_for(download(calls, THERE, path), DEADLINE)
    assert path.read_bytes() == CONTENT
    assert service.asked[-1] > 0

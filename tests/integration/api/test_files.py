"""Uploads and downloads over gRPC, with real files behind the service."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import tracemalloc
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2 as details

from lading.v1 import file_service_pb2 as pb
from lading.v1 import spec_pb2
from lading.v1.file_service_pb2_grpc import FileServiceStub, add_FileServiceServicer_to_server
from ladingd.api.caller import Caller, caller
from ladingd.api.interceptors.guard import Guard
from ladingd.api.interceptors.limits import Limits
from ladingd.api.services.files import FileServicer
from ladingd.core.files import PIECE_BYTES
from ladingd.data.files import downloads
from ladingd.data.files.downloads import RootFiles
from ladingd.data.files.shared_file import Handle
from ladingd.data.files.uploads.quota import UploadRoom
from ladingd.data.files.uploads.store import UploadFiles
from tests.harness.waiting import until_async
from tests.integration.api.answers import refused, unpacked
from tests.integration.api.fakes import ANYONE, DEADLINE, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from ladingd.core.spec import File

MIB = 1 << 20
ID = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"


@dataclass
class Yard:
    """A server of the one service, a stub of it, and the directories behind it."""

    state: Path
    root: Path
    stub: Any
    files: UploadFiles
    guard: Guard
    used: set[str] = field(default_factory=set)

    async def in_use(self, file: File) -> bool:
        assert file.root == "uploads"
        return file.path in self.used

    def begin(self, content: bytes, **facts: Any) -> pb.UploadFileRequest:
        known = {
            "upload_id": ID,
            "file_name": "people.csv",
            "size": len(content),
            "sha256": hashlib.sha256(content).digest(),
        }
        return pb.UploadFileRequest(begin=pb.UploadFileRequest.Begin(**{**known, **facts}))

    async def send(self, begin: pb.UploadFileRequest, content: bytes, piece: int = MIB) -> pb.Upload:
        """A whole sending."""
        pieces = [pb.UploadFileRequest(data=content[at : at + piece]) for at in range(0, len(content), piece)]
        call = self.stub.UploadFile(iter([begin, *pieces]), timeout=DEADLINE)
        try:
            upload: pb.Upload = await call
        finally:
            call.cancel()
        return upload

    async def begun(self, begin: pb.UploadFileRequest) -> Any:
        """An accepted upload, which the test continues by writing."""
        call = self.stub.UploadFile(timeout=60)
        await call.write(begin)
        await asyncio.wait_for(call.initial_metadata(), DEADLINE)
        return call

    async def there(self) -> pb.Upload:
        upload: pb.Upload = await self.stub.GetUpload(pb.GetUploadRequest(name=f"uploads/{ID}"), timeout=DEADLINE)
        return upload

    async def has_received(self, size: int) -> None:
        """Wait until ``size`` bytes are on disk."""

        async def enough() -> bool:
            return (await self.there()).received == size

        await until_async(enough, f"{size} bytes are there")

    def download(self, path: str, root: str = "files", offset: int = 0) -> Any:
        file = spec_pb2.File(root=root, path=path)
        return self.stub.DownloadFile(pb.DownloadFileRequest(file=file, offset=offset), timeout=60)

    async def fetch(self, path: str, root: str = "files", offset: int = 0) -> tuple[Any, bytes]:
        """The description and all the bytes of a download."""
        call = self.download(path, root, offset)
        try:
            first = await call.read()
            assert first is not grpc.aio.EOF, await call.code()
            return first.description, await rest_of(call)
        finally:
            call.cancel()

    def visible(self) -> list[str]:
        """The files below the root of uploads."""
        return sorted(str(p.relative_to(self.files.root)) for p in self.files.root.rglob("*") if p.is_file())


class Doorman(grpc.aio.ServerInterceptor):
    """Admits everybody as the same principal."""

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        caller.set(Caller(principal=ANYONE, acts=frozenset()))
        return await continuation(handler_call_details)


@pytest.fixture
async def make_yard(folder: Path) -> AsyncIterator[Callable[..., Any]]:
    running: list[tuple[grpc.aio.Server, grpc.aio.Channel]] = []

    async def make(
        *, write_timeout: float = DEADLINE, places: int = 32, file_limit: int = MIB << 10, **limits: int
    ) -> Yard:
        state, root = folder / "state", folder / "files"
        for directory in (state, root):
            directory.mkdir(exist_ok=True)
        files = UploadFiles(UploadRoom(directory=state, **{"disk_reserve": 0, **limits}), file_limit=file_limit)
        guard = Guard()
        server = grpc.aio.server(
            interceptors=(guard, Doorman(), Limits(transfers=places, transfer_timeout=write_timeout)),
            options=[("grpc.max_receive_message_length", 4 << 20)],
        )
        channel = grpc.aio.insecure_channel(f"unix:{folder}/s", options=[("grpc.use_local_subchannel_pool", 1)])
        stub = FileServiceStub(channel)  # type: ignore[no-untyped-call]
        yard = Yard(state, root, stub, files, guard)
        roots = {"files": root, "uploads": files.root}
        servicer = FileServicer(files, RootFiles(roots, {}), yard.in_use, timeout=write_timeout)
        add_FileServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
        server.add_insecure_port(f"unix:{folder}/s")
        await server.start()
        running.append((server, channel))
        return yard

    yield make
    for server, channel in running:
        await channel.close()
        await server.stop(0)


@pytest.fixture
async def yard(make_yard: Callable[..., Any]) -> Yard:
    made: Yard = await make_yard()
    return made


async def rest_of(call: Any) -> bytes:
    """The remaining bytes."""
    pieces = []
    while (message := await call.read()) is not grpc.aio.EOF:
        pieces.append(message.data)
    return b"".join(pieces)


def content_of(size: int) -> bytes:
    return b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(-(-size // 32)))[:size]


async def reason_of(call: Any) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    error, status = await refused(call)
    info: Any
    (info,) = unpacked(status, details.ErrorInfo)
    return error.code(), info.reason, dict(info.metadata)


async def invalid_field(call: Any) -> str:
    """The field that a call was refused for."""
    error, status = await refused(call)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, error.details()
    bad: Any
    (bad,) = unpacked(status, details.BadRequest)
    (violation,) = bad.field_violations
    return str(violation.field)


async def test_a_file_that_came_stands_beneath_uploads(yard: Yard) -> None:
    content = content_of(3 * MIB + 7)
    upload = await yard.send(yard.begin(content), content)
    assert (upload.name, upload.complete) == (f"uploads/{ID}", True)
    assert upload.received == upload.size == len(content)
    assert (upload.file.root, upload.file.path) == ("uploads", f"{ID}/people.csv")
    assert (yard.files.root / upload.file.path).read_bytes() == content
    assert await yard.there() == upload
    description, fetched = await yard.fetch(upload.file.path, "uploads")
    assert fetched == content
    assert description.size == len(content)


@pytest.mark.parametrize("size", [0, 1, MIB])
async def test_sizes_at_the_edge(yard: Yard, size: int) -> None:
    content = content_of(size)
    upload = await yard.send(yard.begin(content), content)
    assert upload.complete
    assert (await yard.fetch(upload.file.path, "uploads"))[1] == content


async def test_what_breaks_off_goes_on(yard: Yard) -> None:
    """Once by the client's cancel, and once by a stream that ends early."""
    content = content_of(5 * MIB)
    call = await yard.begun(yard.begin(content))
    await call.write(pb.UploadFileRequest(data=content[:MIB]))
    await yard.has_received(MIB)
    call.cancel()
    await eventually(lambda: yard.guard.idle_seconds() > 0)
    assert yard.visible() == []
    assert not (await yard.there()).complete
    code, reason, facts = await reason_of(yard.send(yard.begin(content, offset=MIB), content[MIB : 2 * MIB]))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "UPLOAD_MISMATCH")
    assert facts["size"] == str(2 * MIB)
    upload = await yard.send(yard.begin(content, offset=2 * MIB), content[2 * MIB :])
    assert upload.complete
    assert (yard.files.root / upload.file.path).read_bytes() == content


async def test_an_offset_below_forgets_what_is_behind_and_one_beyond_is_refused(yard: Yard) -> None:
    content = content_of(2 * MIB)
    wrong = b"x" * MIB
    assert (await reason_of(yard.send(yard.begin(content), content[:100] + wrong)))[1] == "UPLOAD_MISMATCH"
    there = 100 + MIB
    code, reason, facts = await reason_of(yard.send(yard.begin(content, offset=there + 1), b""))
    assert (code, reason, facts) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "UPLOAD_MISMATCH",
        {"size": str(there)},
    )
    upload = await yard.send(yard.begin(content, offset=100), content[100:])
    assert (yard.files.root / upload.file.path).read_bytes() == content


async def test_another_hash_leaves_nothing(yard: Yard) -> None:
    content = content_of(MIB)
    _, reason, facts = await reason_of(yard.send(yard.begin(content, sha256=b"x" * 32), content))
    assert (reason, facts["size"]) == ("UPLOAD_MISMATCH", "0")
    assert (await reason_of(yard.there()))[:2] == (grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND")
    assert yard.visible() == []
    assert list((yard.state / "receiving").iterdir()) == []


async def test_the_hash_is_of_the_whole_file_also_after_a_break(yard: Yard) -> None:
    content = content_of(2 * MIB)
    await reason_of(yard.send(yard.begin(content), b"x" * MIB))
    _, reason, facts = await reason_of(yard.send(yard.begin(content, offset=MIB), content[MIB:]))
    assert (reason, facts["size"]) == ("UPLOAD_MISMATCH", "0")
    assert yard.visible() == []


async def test_more_than_was_announced_leaves_nothing(yard: Yard) -> None:
    content = content_of(MIB)
    _, reason, _ = await reason_of(yard.send(yard.begin(content), content + b"x"))
    assert reason == "UPLOAD_MISMATCH"
    assert (await reason_of(yard.there()))[1] == "FILE_NOT_FOUND"


async def test_a_complete_file_is_not_asked_for_again(yard: Yard) -> None:
    content = content_of(MIB)
    first = await yard.send(yard.begin(content), content)
    assert await yard.send(yard.begin(content), b"") == first


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("other", [{"file_name": "b.csv"}, {"size": 5}, {"sha256": b"y" * 32}])
async def test_an_id_belongs_to_one_file(yard: Yard, other: dict[str, Any], whole: bool) -> None:
    content = content_of(100)
    with suppress(grpc.aio.AioRpcError):
        await yard.send(yard.begin(content), content if whole else content[:50])
    assert (await reason_of(yard.send(yard.begin(content, **other), content)))[1] == "UPLOAD_MISMATCH"
    assert (await yard.there()).received == (100 if whole else 50)


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"file_name": ""}, "begin.file_name"),
        ({"file_name": "a/b"}, "begin.file_name"),
        ({"file_name": "/b"}, "begin.file_name"),
        ({"file_name": ".."}, "begin.file_name"),
        ({"file_name": "."}, "begin.file_name"),
        ({"file_name": "a\0b"}, "begin.file_name"),
        ({"file_name": "ä" * 101}, "begin.file_name"),
        ({"upload_id": ""}, "begin.upload_id"),
        ({"upload_id": "../../x"}, "begin.upload_id"),
        ({"upload_id": "{" + ID + "}"}, "begin.upload_id"),
        ({"upload_id": ID + "\n"}, "begin.upload_id"),
        ({"size": -1}, "begin.size"),
        ({"offset": -1}, "begin.offset"),
        ({"sha256": b"short"}, "begin.sha256"),
    ],
)
async def test_a_beginning_that_cannot_be(yard: Yard, facts: dict[str, Any], named: str) -> None:
    assert await invalid_field(yard.send(yard.begin(b"abc", **facts), b"abc")) == named
    assert list(yard.state.rglob("*")) == []


def bad_orders(begin: pb.UploadFileRequest) -> dict[str, tuple[list[pb.UploadFileRequest], str]]:
    return {
        "nothing": ([], "begin"),
        "data first": ([pb.UploadFileRequest(data=b"x")], "begin"),
        "two beginnings": ([begin, begin], "data"),
        "an empty message": ([begin, pb.UploadFileRequest()], "data"),
        "too much at once": ([begin, pb.UploadFileRequest(data=b"x" * (PIECE_BYTES + 1))], "data"),
    }


@pytest.mark.parametrize("case", bad_orders(pb.UploadFileRequest()))
async def test_messages_out_of_order(yard: Yard, case: str) -> None:
    messages, named = bad_orders(yard.begin(b"abc"))[case]
    assert await invalid_field(yard.stub.UploadFile(iter(messages), timeout=DEADLINE)) == named
    assert yard.visible() == []


async def test_the_later_of_two_sendings_takes_over(yard: Yard) -> None:
    """The first upload may hang in a dead connection and must not block the file. It ends at once."""
    content = content_of(4 * MIB)
    former = await yard.begun(yard.begin(content))
    await former.write(pb.UploadFileRequest(data=content[:MIB]))
    await yard.has_received(MIB)
    later = await yard.begun(yard.begin(content, offset=MIB))
    assert (await reason_of(asyncio.wait_for(former, DEADLINE)))[1] == "UPLOAD_MISMATCH"
    for at in range(MIB, 4 * MIB, MIB):
        await later.write(pb.UploadFileRequest(data=content[at : at + MIB]))
    await later.done_writing()
    upload = await asyncio.wait_for(later, DEADLINE)
    assert (yard.files.root / upload.file.path).read_bytes() == content


async def test_sendings_that_fight_leave_the_right_file(yard: Yard) -> None:
    content = content_of(2 * MIB)

    sendings = (yard.send(yard.begin(content), content, piece=1 << 16) for _ in range(8))
    outcomes = await asyncio.wait_for(asyncio.gather(*sendings, return_exceptions=True), 40)
    refusals = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert len(refusals) < 8
    for refusal in refusals:
        assert isinstance(refusal, grpc.aio.AioRpcError)
        # gRPC's client sometimes loses an answer that arrives while it sends.
        assert refusal.code() is grpc.StatusCode.FAILED_PRECONDITION or refusal.details() == "Internal error from Core"
    assert (yard.files.root / ID / "people.csv").read_bytes() == content


async def test_a_silent_client_is_sent_away_and_may_come_back(make_yard: Callable[..., Any]) -> None:
    yard = await make_yard(write_timeout=0.05)
    content = content_of(100)
    call = await yard.begun(yard.begin(content))
    with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        await call.write(pb.UploadFileRequest(data=content[:50]))
    assert (await reason_of(asyncio.wait_for(call, DEADLINE)))[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    at = (await yard.there()).received
    assert (await yard.send(yard.begin(content, offset=at), content[at:])).complete


async def test_quotas(make_yard: Callable[..., Any]) -> None:
    yard = await make_yard(file_limit=1000, limit=1500)
    content = content_of(1001)
    code, reason, _ = await reason_of(yard.send(yard.begin(content), content))
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
    content = content_of(1000)
    await yard.send(yard.begin(content), content)
    other = str(uuid.uuid4())
    assert (await reason_of(yard.send(yard.begin(content, upload_id=other), content)))[1] == "QUOTA_EXCEEDED"
    await yard.stub.DeleteUpload(pb.DeleteUploadRequest(name=f"uploads/{ID}"), timeout=DEADLINE)
    assert (await yard.send(yard.begin(content, upload_id=other), content)).complete


async def test_what_others_still_send_counts_for_the_quota(make_yard: Callable[..., Any]) -> None:
    yard = await make_yard(limit=1500)
    content = content_of(1000)
    call = await yard.begun(yard.begin(content))
    other = str(uuid.uuid4())
    assert (await reason_of(yard.send(yard.begin(content, upload_id=other), content)))[1] == "QUOTA_EXCEEDED"
    call.cancel()
    await eventually(lambda: yard.guard.idle_seconds() > 0)
    assert (await yard.send(yard.begin(content, upload_id=other), content)).complete


async def test_the_disk_keeps_its_reserve(make_yard: Callable[..., Any]) -> None:
    yard = await make_yard(disk_reserve=1 << 62)
    error, _ = await refused(yard.send(yard.begin(b"abc"), b"abc"))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "disk has no room" in (error.details() or "")
    assert yard.visible() == []


async def test_a_full_disk_is_said_and_leaves_nothing(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    content = content_of(2 * MIB)
    call = await yard.begun(yard.begin(content))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        await call.write(pb.UploadFileRequest(data=content[:MIB]))
    error, _ = await refused(asyncio.wait_for(call, DEADLINE))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "full" in (error.details() or "")
    assert yard.visible() == []
    assert list((yard.state / "receiving").iterdir()) == []


async def test_files_are_deleted_unless_a_job_uses_them(yard: Yard) -> None:
    content = content_of(10)
    request = pb.DeleteUploadRequest(name=f"uploads/{ID}")
    await yard.send(yard.begin(content), content)
    yard.used.add(ID)
    refused = await reason_of(yard.stub.DeleteUpload(request))
    assert refused[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "FILE_IN_USE")
    assert yard.visible() == [f"{ID}/people.csv"]
    yard.used.clear()
    await yard.stub.DeleteUpload(request, timeout=DEADLINE)
    assert (await reason_of(yard.there()))[1] == "FILE_NOT_FOUND"
    assert yard.visible() == []
    assert (await reason_of(yard.stub.DeleteUpload(request)))[1] == "FILE_NOT_FOUND"


async def test_a_sending_ends_when_its_file_is_deleted(yard: Yard) -> None:
    call = await yard.begun(yard.begin(content_of(10)))
    await yard.stub.DeleteUpload(pb.DeleteUploadRequest(name=f"uploads/{ID}"), timeout=DEADLINE)
    assert (await reason_of(asyncio.wait_for(call, DEADLINE)))[1] == "UPLOAD_MISMATCH"
    assert (await reason_of(yard.there()))[1] == "FILE_NOT_FOUND"


@pytest.mark.parametrize("name", ["", "uploads/", "uploads/x", f"jobs/{ID}", f"uploads/{ID}/people.csv", "uploads/.."])
async def test_names_that_are_none(yard: Yard, name: str) -> None:
    for call in (
        yard.stub.GetUpload(pb.GetUploadRequest(name=name)),
        yard.stub.DeleteUpload(pb.DeleteUploadRequest(name=name)),
    ):
        assert await invalid_field(call) == "name"


async def test_a_download_goes_on_from_an_offset(yard: Yard) -> None:
    content = content_of(2 * MIB + 3)
    (yard.root / "a.csv").write_bytes(content)
    whole, fetched = await yard.fetch("a.csv")
    assert fetched == content
    later, rest = await yard.fetch("a.csv", offset=MIB + 1)
    assert rest == content[MIB + 1 :]
    assert (later.size, later.etag) == (whole.size, whole.etag)
    assert (await yard.fetch("a.csv", offset=len(content)))[1] == b""
    (yard.root / "a.csv").write_bytes(content[:-1] + b"x")
    assert (await yard.fetch("a.csv"))[0].etag != whole.etag


async def test_offsets_that_cannot_be(yard: Yard) -> None:
    (yard.root / "a.csv").write_bytes(b"abc")
    for offset in (-1, 4):
        assert await invalid_field(yard.fetch("a.csv", offset=offset)) == "offset"


async def test_only_regular_files_beneath_a_root_are_sent(yard: Yard, folder: Path) -> None:
    secret = folder / "secret.txt"
    secret.write_text("secret")
    (yard.root / "sub").mkdir()
    (yard.root / "sub/inner.csv").write_text("inner")
    os.mkfifo(yard.root / "pipe")
    (yard.root / "out").symlink_to(secret)
    (yard.root / "up").symlink_to("..")
    (yard.root / "circle").symlink_to("circle")
    (yard.root / "inside").symlink_to("sub")
    for path, root, named in [
        ("../secret.txt", "files", "file.path"),
        ("sub/../../secret.txt", "files", "file.path"),
        (str(secret), "files", "file.path"),
        ("out", "files", "file.path"),
        ("up/secret.txt", "files", "file.path"),
        ("circle", "files", "file.path"),
        ("sub", "files", "file.path"),
        ("pipe", "files", "file.path"),
        ("", "files", "file.path"),
        ("a\0b", "files", "file.path"),
        ("x" * 300, "files", "file.path"),
        ("secret.txt", "nowhere", "file.root"),
    ]:
        assert await invalid_field(yard.fetch(path, root)) == named, path
        error, _ = await refused(yard.fetch(path, root))
        assert str(folder) not in (error.details() or "").replace(path or "-", "")
    assert (await reason_of(yard.fetch("missing.csv")))[:2] == (grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND")
    assert (await yard.fetch("inside/inner.csv"))[1] == b"inner"


async def test_a_file_that_changes_while_it_is_sent_ends_the_stream(yard: Yard) -> None:
    path = yard.root / "a.csv"
    with path.open("wb") as file:
        file.truncate(64 * MIB)
    call = yard.download("a.csv")
    assert (await call.read()).description.size == 64 * MIB
    await call.read()
    with path.open("ab") as file:
        file.write(b"more")
    code, reason, _ = await reason_of(asyncio.wait_for(rest_of(call), DEADLINE))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SOURCE_UNREADABLE")


async def test_a_slow_reader_holds_back_the_server(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server reads the file only slightly ahead of the client."""
    with (yard.root / "big").open("wb") as file:
        file.truncate(200 * MIB)
    pieces = 0
    read = downloads._OpenFile.read

    def counting(self: Any, place: int) -> bytes:
        nonlocal pieces
        pieces += 1
        return read(self, place)

    monkeypatch.setattr(downloads._OpenFile, "read", counting)
    call = yard.download("big")
    await call.read()
    taken = 0
    while taken < 40:
        assert len((await call.read()).data) == MIB
        taken += 1
        # After some calls the server has sent everything that the window allows.
        for _ in range(3):
            await reason_of(yard.there())
        assert pieces <= taken + 40
    call.cancel()
    await eventually(lambda: yard.guard.idle_seconds() > 0)
    assert pieces < 100


async def test_a_slow_disk_holds_back_the_client(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    held = threading.Event()
    write = Handle.write

    def slow(self: Any, data: bytes, place: int) -> None:
        held.set()
        assert gate.wait(DEADLINE)
        write(self, data, place)

    monkeypatch.setattr(Handle, "write", slow)
    content = content_of(MIB) * 64
    call = await yard.begun(yard.begin(content))
    sent = 0

    async def send() -> None:
        nonlocal sent
        for at in range(0, len(content), MIB):
            await call.write(pb.UploadFileRequest(data=content[at : at + MIB]))
            sent += 1
        await call.done_writing()

    sending = asyncio.create_task(send())
    await eventually(held.is_set)
    for _ in range(50):
        await yard.there()
    assert sent < 48
    gate.set()
    await asyncio.wait_for(sending, DEADLINE)
    assert (await asyncio.wait_for(call, DEADLINE)).complete


async def test_fifty_megabytes_both_ways_take_little_memory(yard: Yard) -> None:
    piece = content_of(MIB)
    digest = hashlib.sha256()
    for _ in range(50):
        digest.update(piece)

    def messages() -> Iterable[pb.UploadFileRequest]:
        yield yard.begin(b"", size=50 * MIB, sha256=digest.digest())
        for _ in range(50):
            yield pb.UploadFileRequest(data=piece)

    tracemalloc.start()
    try:
        upload = await yard.stub.UploadFile(messages(), timeout=40)
        came = 0
        async for message in yard.download(upload.file.path, "uploads"):
            came += len(message.data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert came == 50 * MIB
    assert peak < 16 * MIB


async def test_a_root_whose_directories_become_links_gives_nothing_away(yard: Yard, folder: Path) -> None:
    """A directory is replaced by a link repeatedly during reads."""
    outside = folder / "outside"
    outside.mkdir()
    (outside / "a.csv").write_text("secret")
    (yard.root / "sub").mkdir()
    (yard.root / "sub/a.csv").write_text("public")
    (folder / "link").symlink_to(outside)
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            (yard.root / "sub").rename(yard.root / "kept")
            (folder / "link").rename(yard.root / "sub")
            (yard.root / "sub").rename(folder / "link")
            (yard.root / "kept").rename(yard.root / "sub")

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen: dict[str, int] = {}
    try:
        for _ in range(300):
            try:
                answer = (await yard.fetch("sub/a.csv"))[1].decode()
            except grpc.aio.AioRpcError as error:
                answer = error.code().name
            seen[answer] = seen.get(answer, 0) + 1
    finally:
        done.set()
        await asyncio.to_thread(swapper.join, DEADLINE)
    assert set(seen) <= {"public", "NOT_FOUND", "INVALID_ARGUMENT"}


async def test_nothing_is_left_open_when_calls_are_cancelled_at_any_moment(yard: Yard) -> None:
    content = content_of(MIB)
    (yard.root / "a.csv").write_bytes(content * 4)
    await yard.fetch("a.csv")
    before = len(os.listdir("/proc/self/fd"))
    for turns in range(40):
        tasks = [
            asyncio.create_task(yard.send(yard.begin(content, upload_id=str(uuid.uuid4())), content, piece=1 << 14)),
            asyncio.create_task(yard.fetch("a.csv")),
        ]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=DEADLINE)
    await eventually(lambda: yard.guard.idle_seconds() > 0)
    await eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)
    assert yard.files._running == {}
    swept = await yard.files.sweep(datetime.now(UTC) + timedelta(hours=25), yard.in_use)
    assert len(swept) <= 40
    assert list((yard.state / "receiving").iterdir()) == []


async def test_a_client_that_stops_reading_gives_its_place_to_others(make_yard: Callable[..., Any]) -> None:
    yard = await make_yard(write_timeout=0.2, places=1)
    content = os.urandom(32 * MIB)
    (yard.root / "large").write_bytes(content)
    (yard.root / "small").write_bytes(b"x")
    stalled = yard.download("large")
    try:
        assert (await stalled.read()).description.size == len(content)

        async def has_place() -> bool:
            try:
                return (await yard.fetch("small"))[1] == b"x"
            except (grpc.aio.AioRpcError, AssertionError):
                return False

        await until_async(has_place, "the place is free again")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await rest_of(stalled)
        assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    finally:
        stalled.cancel()
    assert await yard.guard.drained(DEADLINE)

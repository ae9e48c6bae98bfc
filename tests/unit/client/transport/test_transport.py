"""The contract of transports, for the gRPC transport and for its replacement in tests."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2 as details

from lading.v1 import file_service_pb2 as pb
from lading.v1 import file_service_pb2_grpc, job_pb2
from lading.v1 import job_service_pb2 as jobs
from lading_client.errors import DaemonError, DeadlineExceeded, NotFound, QuotaExceeded, TooManyCalls, Unavailable
from lading_client.transport.channel import GrpcTransport
from tests.harness.waiting import until_async
from tests.unit.client.conftest import DEADLINE
from tests.unit.client.fake_service import FakeService, abort, serving
from tests.unit.client.service_transport import ServiceTransport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from lading_client.transport.transport import Transport

QUOTA = details.ErrorInfo(reason="QUOTA_EXCEEDED", domain="lading")


class Receiver(file_service_pb2_grpc.FileServiceServicer):
    """Accepts uploads. Refuses after ``refuses_at`` bytes."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.refuses_at: int | None = None
        self.ended = 0

    async def UploadFile(self, request_iterator: AsyncIterator[pb.UploadFileRequest], context: Any) -> pb.Upload:
        try:
            begin = (await anext(request_iterator)).begin
            await self._refuse(context, 0)
            await context.send_initial_metadata(())
            async for message in request_iterator:
                self.received.append(message.data)
                await self._refuse(context, sum(map(len, self.received)))
            return pb.Upload(name="uploads/x", size=begin.size)
        finally:
            self.ended += 1

    async def _refuse(self, context: Any, received: int) -> None:
        if self.refuses_at is not None and received >= self.refuses_at:
            await abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "full", QUOTA)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture(params=[GrpcTransport, ServiceTransport])
async def transport(
    request: pytest.FixtureRequest, service: FakeService, receiver: Receiver, socket: Path
) -> AsyncIterator[Transport]:
    if request.param is ServiceTransport:
        yield ServiceTransport(service, receiver)
        return
    server = serving(service)
    file_service_pb2_grpc.add_FileServiceServicer_to_server(receiver, server)  # type: ignore[no-untyped-call]
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    transport = GrpcTransport(f"unix:{socket}")
    transport.open()
    yield transport
    await transport.close()
    await server.stop(None)


async def get(transport: Transport, name: str, *, deadline: float = DEADLINE) -> job_pb2.Job:
    job: job_pb2.Job = await transport.unary("GetJob", jobs.GetJobRequest(name=name), deadline=deadline)
    return job


async def test_one_request_has_one_answer(transport: Transport, service: FakeService) -> None:
    service.put("a", label="nightly")
    assert (await get(transport, "jobs/a")).label == "nightly"
    assert service.requests == [jobs.GetJobRequest(name="jobs/a")]


async def test_a_failed_call_is_made_once_and_its_error_has_every_detail(
    transport: Transport, service: FakeService
) -> None:
    info = details.ErrorInfo(reason="TOO_MANY_CALLS", domain="lading", metadata={"class": "reads"})
    retry = details.RetryInfo(retry_delay=Duration(seconds=2))
    service.fail_next(grpc.StatusCode.RESOURCE_EXHAUSTED, info, retry)
    with pytest.raises(TooManyCalls, match="as the test wants") as caught:
        await get(transport, "jobs/a")
    assert (caught.value.code, caught.value.call_class) == ("RESOURCE_EXHAUSTED", "reads")
    assert caught.value.retry_delay == timedelta(seconds=2)
    assert len(service.requests) == 1


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
async def test_every_status_is_an_error_with_its_code(
    transport: Transport, service: FakeService, code: grpc.StatusCode
) -> None:
    service.fail_next(code)
    with pytest.raises(DaemonError, match="as the test wants") as caught:
        await get(transport, "jobs/a")
    assert caught.value.code == code.name


async def test_a_call_ends_at_its_deadline(transport: Transport, service: FakeService) -> None:
    service.hangs = True
    with pytest.raises(DeadlineExceeded):
        await get(transport, "jobs/a", deadline=0.05)


async def test_every_answer_of_a_stream_comes_in_order(transport: Transport, service: FakeService) -> None:
    service.journal = [job_pb2.JournalEntry(sequence=n) for n in range(1, 100)]
    answers = [a async for a in transport.server_stream("WatchJournal", jobs.WatchJournalRequest(parent="jobs/a"))]
    assert [answer.journal_entry.sequence for answer in answers] == list(range(1, 100))


async def test_a_stream_that_fails_gives_its_answers_first(transport: Transport, service: FakeService) -> None:
    service.journal = [job_pb2.JournalEntry(sequence=n) for n in (1, 2, 3)]
    service.break_after = [2]
    async with aclosing(transport.server_stream("WatchJournal", jobs.WatchJournalRequest(parent="jobs/a"))) as answers:
        assert [(await anext(answers)).journal_entry.sequence for _ in range(2)] == [1, 2]
        with pytest.raises(Unavailable, match="broken off"):
            await anext(answers)
    with pytest.raises(NotFound):
        await anext(transport.server_stream("WatchJobs", jobs.WatchJobsRequest(name="jobs/none")))


@pytest.mark.parametrize("way", ["close", "cancel"])
async def test_leaving_a_stream_ends_it_on_the_daemon(transport: Transport, service: FakeService, way: str) -> None:
    service.put("a")
    seen = asyncio.Event()

    async def watch() -> None:
        async with aclosing(transport.server_stream("WatchJobs", jobs.WatchJobsRequest())) as events:
            async for _ in events:
                seen.set()
                if way == "close":
                    return

    watching = asyncio.create_task(watch())
    await asyncio.wait_for(seen.wait(), DEADLINE)
    if way == "cancel":
        assert service.watchers == 1
        watching.cancel()
    await asyncio.wait([watching], timeout=DEADLINE)

    async def left() -> bool:
        return service.watchers == 0

    await until_async(left, "the stream to end")


class Requests:
    """An upload of some pieces; ``taken`` counts them."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.taken = 0

    async def __call__(self) -> AsyncGenerator[pb.UploadFileRequest, None]:
        yield pb.UploadFileRequest(begin=pb.UploadFileRequest.Begin(size=sum(map(len, self.pieces))))
        for piece in self.pieces:
            self.taken += 1
            yield pb.UploadFileRequest(data=piece)


async def test_every_request_is_sent(transport: Transport, receiver: Receiver) -> None:
    requests = Requests(b"one", b"two", b"three")
    assert (await transport.client_stream("UploadFile", requests())).size == 11
    assert receiver.received == [b"one", b"two", b"three"]


async def test_no_more_is_sent_to_a_daemon_that_refuses_the_first_request(
    transport: Transport, receiver: Receiver
) -> None:
    receiver.refuses_at = 0
    requests = Requests(b"one", b"two", b"three")
    # Over gRPC the refusal may arrive after the headers, while the next request is being sent.
    with pytest.raises((QuotaExceeded, Unavailable)):
        await transport.client_stream("UploadFile", requests())
    assert requests.taken <= 1
    assert receiver.received == []


async def test_a_refusal_while_requests_are_sent_ends_the_call(transport: Transport, receiver: Receiver) -> None:
    receiver.refuses_at = 1
    requests = Requests(*[b"x" * 100_000] * 1000)
    # gRPC loses the daemon's reason while a request is being sent.
    with pytest.raises((QuotaExceeded, Unavailable)):
        await transport.client_stream("UploadFile", requests())
    assert requests.taken < 1000


async def test_a_caller_who_cannot_make_a_request_ends_the_call(transport: Transport, receiver: Receiver) -> None:
    async def requests() -> AsyncGenerator[pb.UploadFileRequest, None]:
        yield pb.UploadFileRequest(begin=pb.UploadFileRequest.Begin(size=3))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await transport.client_stream("UploadFile", requests())

    async def ended() -> bool:
        return receiver.ended == 1

    await until_async(ended, "the upload to end")

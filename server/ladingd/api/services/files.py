"""The service of files: convert, call, return."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from google.protobuf.empty_pb2 import Empty

from lading.v1 import file_service_pb2 as pb
from lading.v1 import spec_pb2
from lading.v1.file_service_pb2_grpc import FileServiceServicer
from ladingd.api.caller import caller
from ladingd.api.messages import request as shape
from ladingd.api.messages.job import timestamp
from ladingd.api.permits import DEFAULT
from ladingd.core.errors import DeadlineExceeded, InvalidRequest
from ladingd.core.files import PIECE_BYTES, UPLOADS, Announcement, is_upload_id
from ladingd.core.origin import effect
from ladingd.core.spec import File

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    import grpc

    from ladingd.core.files import FileSender, InUse, Reception, Upload, UploadStore

    Context = grpc.aio.ServicerContext[Any, Any]

TIMEOUT = 300.0
"""Seconds that a client may pause in the middle of a file. After that it must resume the upload with a new call."""

_SHA256_BYTES = 32
_MAX_NAME_BYTES = 200
"""The limit of file systems, less what the daemon adds to the name of an incomplete file."""


class FileServicer(FileServiceServicer):
    """Reads the next message only after the last one is on disk, and the next piece only after the last one is sent."""

    def __init__(self, uploads: UploadStore, sender: FileSender, in_use: InUse, *, timeout: float = TIMEOUT) -> None:
        self._uploads = uploads
        self._sender = sender
        self._in_use = in_use
        self._timeout = timeout

    async def UploadFile(self, request_iterator: AsyncIterator[pb.UploadFileRequest], context: Context) -> pb.Upload:
        messages = aiter(request_iterator)
        first = await self._next(messages, None)
        if first is None or first.WhichOneof("part") != "begin":
            raise InvalidRequest("begin", "comes first")
        announced, offset = announcement_in(first.begin), shape.not_negative(first.begin.offset, "begin.offset")
        principal = caller.get().principal
        principal.require_upload(await self._uploads.owner(announced.upload_id))
        async with self._uploads.receive(announced, offset, principal.name) as coming:
            # A client can wait for our headers and so learn that the file is accepted before it sends data.
            await context.send_initial_metadata(())
            while not coming.complete and (message := await self._next(messages, coming)) is not None:
                await coming.write(data_in(message))
            return upload_message(await coming.finish())

    async def GetUpload(self, request: pb.GetUploadRequest, context: Context) -> pb.Upload:
        return upload_message(await self._uploads.get(shape.upload_id_in(request.name)))

    async def DeleteUpload(self, request: pb.DeleteUploadRequest, context: Context) -> Empty:
        removing = asyncio.ensure_future(self._remove(shape.upload_id_in(request.name)))
        try:
            await asyncio.shield(removing)
        except asyncio.CancelledError:
            # The deleting thread cannot be stopped. Wait for its result, which belongs in the audit trail.
            await asyncio.wait([removing])
            if not removing.cancelled():
                removing.exception()  # Mark it as retrieved: nobody waits for it.
            raise
        return Empty()

    async def DownloadFile(
        self, request: pb.DownloadFileRequest, context: Context
    ) -> AsyncGenerator[pb.DownloadFileResponse, None]:
        offset = shape.not_negative(request.offset, "offset")
        file = File(root=request.file.root or DEFAULT, path=request.file.path)
        async with self._sender.send(file, offset) as going, aclosing(going.pieces()) as pieces:
            yield pb.DownloadFileResponse(
                description=pb.DownloadFileResponse.Description(size=going.size, etag=going.etag)
            )
            async for piece in pieces:
                yield pb.DownloadFileResponse(data=piece)

    async def _remove(self, upload_id: str) -> None:
        await self._uploads.delete(upload_id, self._in_use)
        if (wanted := effect.get(None)) is not None:
            wanted.upload = f"{UPLOADS}/{upload_id}"

    async def _next(
        self, messages: AsyncIterator[pb.UploadFileRequest], coming: Reception | None
    ) -> pb.UploadFileRequest | None:
        try:
            async with asyncio.timeout(self._timeout) as limit:
                if coming is not None:
                    coming.check()
                    coming.when_taken_over(lambda: limit.reschedule(0))
                return await anext(messages, None)
        except TimeoutError:
            if coming is not None:
                coming.check()
            raise DeadlineExceeded(self._timeout) from None
        finally:
            if coming is not None:
                coming.when_taken_over(None)


def announcement_in(begin: pb.UploadFileRequest.Begin) -> Announcement:
    """The announcement of an upload. Raises InvalidRequest."""
    upload_id = begin.upload_id.lower()
    if not is_upload_id(upload_id):
        raise InvalidRequest("begin.upload_id", "is not a UUID")
    if len(begin.sha256) != _SHA256_BYTES:
        raise InvalidRequest("begin.sha256", f"is not {_SHA256_BYTES} bytes")
    return Announcement(
        upload_id=upload_id,
        file_name=_file_name_in(begin.file_name),
        size=shape.not_negative(begin.size, "begin.size"),
        sha256=begin.sha256,
    )


def data_in(message: pb.UploadFileRequest) -> bytes:
    """The data of a message. Raises InvalidRequest."""
    if message.WhichOneof("part") != "data":
        raise InvalidRequest("data", "must follow begin; nothing else may")
    if len(message.data) > PIECE_BYTES:
        raise InvalidRequest("data", f"is larger than {PIECE_BYTES} bytes")
    return message.data


def upload_message(upload: Upload) -> pb.Upload:
    return pb.Upload(
        name=f"{UPLOADS}/{upload.id}",
        file=spec_pb2.File(root=upload.file.root, path=upload.file.path),
        received=upload.received,
        size=upload.size,
        complete=upload.complete,
        create_time=timestamp(upload.create_time),
    )


def _file_name_in(name: str) -> str:
    field = "begin.file_name"
    if not name:
        raise InvalidRequest(field, "is empty")
    if "/" in name or "\0" in name or name in (".", ".."):
        raise InvalidRequest(field, "must be the name of a file, without a directory")
    if len(name.encode()) > _MAX_NAME_BYTES:
        raise InvalidRequest(field, f"is longer than {_MAX_NAME_BYTES} bytes")
    return name

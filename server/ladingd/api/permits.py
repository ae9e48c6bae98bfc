"""Checks the right to use what a request names: connections, roots and uploads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

from lading.v1 import spec_pb2
from ladingd.core.files import UPLOADS, upload_id_beneath

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ladingd.core.access import Principal
    from ladingd.core.files import UploadStore

DEFAULT = "local"
"""The connection and the root that an empty name means."""


class Permits:
    """Every method raises PermissionDenied if the caller lacks the right."""

    def __init__(self, uploads: UploadStore) -> None:
        self._uploads = uploads

    async def spec(self, principal: Principal, spec: spec_pb2.JobSpec, *, asks_only: bool = False) -> None:
        """Check everything that a spec names. The caller becomes the owner of what the spec exports for a download,
        unless ``asks_only``."""
        written = spec.WhichOneof("kind") == "export_spec" and not asks_only
        for part in _parts(spec):
            match part:
                case spec_pb2.File():
                    await self.file(principal, part, written=written)
                case spec_pb2.Table():
                    principal.require_connection(part.connection or DEFAULT)

    async def file(self, principal: Principal, file: spec_pb2.File, *, written: bool = False) -> None:
        """Check one file, to be read or written."""
        root = file.root or DEFAULT
        principal.require_root(root)
        # Any other path below that root is refused later, when the file is opened.
        if root == UPLOADS and (upload_id := upload_id_beneath(file.path)):
            if written:
                principal.require_upload(await self._uploads.claim(upload_id, principal.name))
            else:
                await self.upload(principal, upload_id)

    async def upload(self, principal: Principal, upload_id: str) -> None:
        """Check an upload, or a file exported for a download."""
        principal.require_upload(await self._uploads.owner(upload_id))


def _parts(message: Message) -> Iterator[Message]:
    """A message and all messages in it."""
    yield message
    for _, value in message.ListFields():
        within: Sequence[Any] = ()
        if isinstance(value, Message):
            within = (value,)
        elif isinstance(value, Mapping):
            within = tuple(value.values())
        elif isinstance(value, Sequence):
            within = value
        for part in within:
            if isinstance(part, Message):
                yield from _parts(part)

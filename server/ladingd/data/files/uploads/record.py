"""The record of a file that a client sends."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from ladingd.core.files import UPLOADS, Announcement, Upload


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadRecord:
    """The announced name, size and hash, and the time of the announcement."""

    announced: Announcement
    create_time: datetime

    @property
    def id(self) -> str:
        """The id of the upload."""
        return self.announced.upload_id

    @property
    def name(self) -> str:
        """The name in the API: `uploads/ID`."""
        return f"{UPLOADS}/{self.id}"

    def upload(self, received: int, *, complete: bool) -> Upload:
        """The upload with the number of bytes received."""
        return Upload(
            id=self.id,
            file_name=self.announced.file_name,
            size=self.announced.size,
            received=received,
            complete=complete,
            create_time=self.create_time,
        )

    def to_json(self) -> bytes:
        """The stored form."""
        facts = {
            "file_name": self.announced.file_name,
            "size": self.announced.size,
            "sha256": self.announced.sha256.hex(),
            "create_time": self.create_time.isoformat(),
        }
        return json.dumps(facts).encode()

    @classmethod
    def from_json(cls, upload_id: str, text: bytes) -> UploadRecord:
        """The record from its stored form."""
        facts = json.loads(text)
        announced = Announcement(
            upload_id=upload_id,
            file_name=facts["file_name"],
            size=facts["size"],
            sha256=bytes.fromhex(facts["sha256"]),
        )
        return cls(announced=announced, create_time=datetime.fromisoformat(facts["create_time"]))

"""The ledger of an export, in files of the job's directory: its attempt, its chunks, and the moments that they saw."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from ladingd.core.bill import Counts
from ladingd.core.errors import AttemptSuperseded, LedgerLost
from ladingd.core.plan import CommittedChunk
from ladingd.data.databases.row_source import Moment
from ladingd.data.files.digest import digest_all
from ladingd.data.storage.work_dir import WorkDir, write_durably, writing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A chunk that is done. It never changes."""

    counts: Counts
    size: int
    """The bytes of the chunk."""
    placed: bool
    """The bytes were written directly into the draft and were never a part."""
    digest: str
    """The digest of the bytes. Empty in entries of earlier versions."""
    moment: int = 0
    """The number of the moment that the chunk saw, counted from 1. 0: unknown."""

    @classmethod
    def read(cls, path: Path) -> Entry:
        """Raises FileNotFoundError."""
        facts = json.loads(path.read_text())
        return cls(
            counts=Counts(**facts["counts"]),
            size=facts["size"],
            placed=facts["placed"],
            digest=facts.get("digest", ""),
            moment=facts.get("moment", 0),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """The ledger of one export. Entries are durable, and only the current attempt writes them."""

    work_dir: WorkDir
    job_uid: str

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the job's lock. Raises DestinationRefused if the job's directory cannot be used."""
        with self.work_dir.locked(f"job {self.job_uid}"), writing(self._directory):
            yield

    # Attempts

    def begin(self, attempt: int) -> tuple[CommittedChunk, ...]:
        """Shut out earlier attempts and return the chunks that are done. Raises AttemptSuperseded."""
        current = self.attempt()
        if current > attempt:
            raise AttemptSuperseded(f"attempt {attempt} must not write any more: attempt {current} has begun")
        write_durably(self._directory / "attempt", [str(attempt).encode()])
        return self.committed()

    def attempt(self) -> int:
        """The current attempt; 0 if there is none."""
        path = self._directory / "attempt"
        try:
            return int(path.read_text()) if path.exists() else 0
        except ValueError as error:
            raise LedgerLost(f"{path.name} of this job is damaged: make a new job") from error

    @contextmanager
    def entering(self, attempt: int, ordinal: int) -> Iterator[Entry | None]:
        """Hold the job's lock and yield the chunk's entry, or None. Raises AttemptSuperseded unless the attempt is the
        current one."""
        with self.locked():
            current = self.attempt()
            if current != attempt:
                reason = f"attempt {current} has begun" if current else "the job was discarded"
                raise AttemptSuperseded(f"attempt {attempt} must not write any more: {reason}")
            yield self.entry(ordinal)

    # Chunks

    def part(self, ordinal: int) -> Path:
        """The file of a chunk's bytes until they are copied into the draft."""
        return self.work_dir.part(self.job_uid, ordinal)

    def entry(self, ordinal: int) -> Entry | None:
        """The entry of a chunk; None until the chunk is done."""
        try:
            return Entry.read(self._entry_file(ordinal))
        except FileNotFoundError:
            return None

    def write(self, ordinal: int, entry: Entry) -> None:
        """Write the entry of a chunk, durably."""
        write_durably(self._entry_file(ordinal), [json.dumps(asdict(entry)).encode()])

    def entries(self) -> dict[int, Entry]:
        """All entries, by the ordinal of their chunk."""
        return {int(path.stem): Entry.read(path) for path in sorted(self._parts.glob("*.json"))}

    def committed(self) -> tuple[CommittedChunk, ...]:
        """The chunks that are done."""
        return tuple(CommittedChunk(ordinal=ordinal, counts=entry.counts) for ordinal, entry in self.entries().items())

    def exported(self) -> int:
        """The number of exported rows."""
        return sum(entry.counts.read for entry in self.entries().values())

    def digest_of_part(self, ordinal: int) -> str | None:
        """The digest of a part; None if there is none."""
        try:
            with self.part(ordinal).open("rb") as file:
                return digest_all(iter(partial(file.read, _BLOCK), b""))
        except FileNotFoundError:
            return None

    def remove_drafts(self) -> None:
        """Remove the drafts of killed workers."""
        for draft in self._parts.glob(".*"):
            draft.unlink()

    def remove_parts(self) -> None:
        """Remove all parts and drafts."""
        self.remove_drafts()
        for entry in self._parts.glob("*.json"):
            self.part(int(entry.stem)).unlink(missing_ok=True)

    # Moments

    def moments(self, attempt: int | None = None) -> dict[int, Moment]:
        """The moments of all attempts, or of one attempt, by number."""
        if not self._moments.exists():
            return {}
        moments = {}
        for number, facts in enumerate(json.loads(self._moments.read_text()), 1):
            own = facts.pop("attempt")
            if attempt in (None, own):
                moments[number] = Moment(**facts | {"time": datetime.fromisoformat(facts["time"])})
        return moments

    def add_moment(self, attempt: int, moment: Moment) -> None:
        """Add a moment for the next chunks of an attempt. The caller holds the job's lock."""
        known = json.loads(self._moments.read_text()) if self._moments.exists() else []
        known.append({**asdict(moment), "time": moment.time.isoformat(), "attempt": attempt})
        write_durably(self._moments, [json.dumps(known).encode()])

    # The end

    @property
    def complete(self) -> Path:
        """A marker file: the draft is complete and is being published. It holds the identity of the exported file."""
        return self._directory / "complete"

    @property
    def _directory(self) -> Path:
        return self.work_dir.job(self.job_uid)

    @property
    def _parts(self) -> Path:
        return self._directory / "parts"

    @property
    def _moments(self) -> Path:
        return self._directory / "moments"

    def _entry_file(self, ordinal: int) -> Path:
        return self.part(ordinal).with_suffix(".json")

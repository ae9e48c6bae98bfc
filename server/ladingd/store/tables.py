"""The tables of the store, as the newest migration leaves them."""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, ForeignKey, Index, MetaData, String, Table, Text, text

from ladingd.core.access import Role
from ladingd.core.job import ChangeKind, Level
from ladingd.core.state import Event, State
from ladingd.store import documents
from ladingd.store.columns import Document, Moment, Number, Word

metadata = MetaData()

# The columns from `id` on are the fields of core.job.Job.
jobs = Table(
    "jobs",
    metadata,
    Column("sequence", Number, primary_key=True),
    Column("state_revision", Number, nullable=False),
    Column("id", String(63), nullable=False, unique=True),
    Column("uid", String(36), nullable=False),
    Column("owner", Text, nullable=False, server_default=""),
    Column("shared", Boolean, nullable=False, server_default="0"),
    Column("label", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("spec", Document(documents.SPEC), nullable=False),
    Column("plan", Document(documents.PLAN), nullable=False),
    Column("state", Word(State), nullable=False),
    Column("revision", Number, nullable=False),
    Column("attempt", Number, nullable=False),
    Column("counts", Document(documents.COUNTS), nullable=False),
    Column("total", Number),
    Column("progress", Document(documents.PROGRESS), nullable=False),
    Column("failure", Document(documents.FAILURE)),
    Column("settled", Boolean, nullable=False),
    Column("correlation", Text, nullable=False, server_default=""),
    Column("create_time", Moment, nullable=False),
    Column("update_time", Moment, nullable=False),
    Column("start_time", Moment),
    Column("end_time", Moment),
    Index("jobs_by_state", "state", "state_revision"),
    Index("jobs_by_settled", "settled"),
    Index("jobs_by_end", "state", "end_time"),
    Index("jobs_by_uid", "uid"),
    Index("jobs_by_owner", "owner", "sequence"),
    Index("jobs_shared", "sequence", sqlite_where=text("shared = 1")),
    sqlite_autoincrement=True,
)

# One row. `revision` is the last revision given out. Changes up to `compacted` are deleted. The counter has its own
# table, so that revisions continue when changes are deleted, and become visible in order.
history = Table(
    "history",
    metadata,
    Column("id", Number, CheckConstraint("id = 1", name="history_has_one_row"), primary_key=True),
    Column("revision", Number, nullable=False),
    Column("compacted", Number, nullable=False),
)

# No reference to jobs: the changes of a job outlive it, so that watchers hear of its deletion.
changes = Table(
    "changes",
    metadata,
    Column("revision", Number, primary_key=True, autoincrement=False),
    Column("job_id", String(63), nullable=False),
    Column("kind", Word(ChangeKind), nullable=False),
    Column("from_state", Word(State)),
    Column("to_state", Word(State)),
    Column("cause", Word(Event)),
    Column("time", Moment, nullable=False),
    Column("job", Document(documents.JOB), nullable=False),
    Column("correlation", Text, nullable=False, server_default=""),
    Index("changes_withdrawn", "revision", sqlite_where=text("kind = 'WITHDRAWN'")),
)

journal = Table(
    "journal",
    metadata,
    Column("sequence", Number, primary_key=True),
    Column("job_id", String(63), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("time", Moment, nullable=False),
    Column("level", Word(Level), nullable=False),
    Column("code", Text, nullable=False),
    Column("message", Text, nullable=False),
    Index("journal_by_job", "job_id", "sequence"),
    sqlite_autoincrement=True,
)

# The columns from `ordinal` to `earlier_records` are the fields of core.plan.Chunk.
chunks = Table(
    "chunks",
    metadata,
    Column("job_id", String(63), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("ordinal", Number, primary_key=True, autoincrement=False),
    Column("start", Number, nullable=False),
    Column("end", Number, nullable=False),
    Column("first_record", Number, nullable=False),
    Column("first_line", Number, nullable=False),
    Column("records", Number),
    Column("refused", Text),
    Column("digest", Text),
    Column("phase", Number, nullable=False, server_default="0"),
    Column("earlier_records", Number, nullable=False, server_default="0"),
    Column("counts", Document(documents.COUNTS)),
)

# No reference to jobs: a request outlives its job, so that repeating it does not make the job again. The uid identifies
# the job, because an id can be reused. `owner` is empty for requests from before jobs had owners.
requests = Table(
    "requests",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("job_id", String(63), nullable=False),
    Column("job_uid", String(36), nullable=False),
    Column("time", Moment, nullable=False),
    Index("requests_by_time", "time"),
)

# The columns from `id` on are the fields of core.access.Token.
tokens = Table(
    "tokens",
    metadata,
    Column("sequence", Number, primary_key=True),
    Column("id", String(16), nullable=False, unique=True),
    Column("name", String(63), nullable=False),
    Column("role", Word(Role), nullable=False),
    Column("connections", Document(documents.NAMES), nullable=False),
    Column("roots", Document(documents.NAMES), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("create_time", Moment, nullable=False),
    Column("expire_time", Moment),
    Column("revoke_time", Moment),
    Index("tokens_by_name", "name"),
    sqlite_autoincrement=True,
)

# The columns after `sequence` are the fields of core.access.Deed.
audit = Table(
    "audit",
    metadata,
    Column("sequence", Number, primary_key=True),
    Column("time", Moment, nullable=False),
    Column("principal", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("peer", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("resource", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    sqlite_autoincrement=True,
)

# Jobs that the daemon itself has paused.
holds = Table(
    "holds",
    metadata,
    Column("job_id", String(63), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("place", Text, nullable=False),
    Column("time", Moment, nullable=False),
)

# No reference to jobs: most of these jobs are deleted. The uid identifies the job, because an id can be reused.
discards = Table(
    "discards",
    metadata,
    Column("sequence", Number, primary_key=True),
    Column("uid", String(36), nullable=False, unique=True),
    Column("job_id", String(63), nullable=False),
    Column("plan", Document(documents.PLAN), nullable=False),
    Column("time", Moment, nullable=False),
    Column("deleted", Boolean, nullable=False, server_default="1"),
    sqlite_autoincrement=True,
)

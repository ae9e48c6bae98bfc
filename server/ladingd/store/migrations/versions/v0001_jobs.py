"""Jobs, their changes, journals, chunks and the requests that made them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# This module imports nothing from the store: the store's modules will change, but this migration must not.
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_ID = sa.String(63)
_WORD = sa.String(32)
_TIME = sa.String(32)


def upgrade() -> None:
    """Create the first tables."""
    op.create_table(
        "jobs",
        sa.Column("sequence", _NUMBER, primary_key=True),
        sa.Column("state_revision", _NUMBER, nullable=False),
        sa.Column("id", _ID, nullable=False, unique=True),
        sa.Column("uid", sa.String(36), nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("state", _WORD, nullable=False),
        sa.Column("revision", _NUMBER, nullable=False),
        sa.Column("attempt", _NUMBER, nullable=False),
        sa.Column("counts", sa.Text, nullable=False),
        sa.Column("total", _NUMBER),
        sa.Column("progress", sa.Text, nullable=False),
        sa.Column("failure", sa.Text),
        sa.Column("settled", sa.Boolean, nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.Column("update_time", _TIME, nullable=False),
        sa.Column("start_time", _TIME),
        sa.Column("end_time", _TIME),
        sqlite_autoincrement=True,
    )
    op.create_index("jobs_by_state", "jobs", ["state", "state_revision"])
    op.create_index("jobs_by_settled", "jobs", ["settled"])
    history = op.create_table(
        "history",
        sa.Column("id", _NUMBER, sa.CheckConstraint("id = 1", name="history_has_one_row"), primary_key=True),
        sa.Column("revision", _NUMBER, nullable=False),
        sa.Column("compacted", _NUMBER, nullable=False),
    )
    op.bulk_insert(history, [{"id": 1, "revision": 0, "compacted": 0}])
    op.create_table(
        "changes",
        sa.Column("revision", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("job_id", _ID, nullable=False),
        sa.Column("kind", _WORD, nullable=False),
        sa.Column("from_state", _WORD),
        sa.Column("to_state", _WORD),
        sa.Column("cause", _WORD),
        sa.Column("time", _TIME, nullable=False),
        sa.Column("job", sa.Text, nullable=False),
    )
    op.create_table(
        "journal",
        sa.Column("sequence", _NUMBER, primary_key=True),
        sa.Column("job_id", _ID, sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("time", _TIME, nullable=False),
        sa.Column("level", _WORD, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("journal_by_job", "journal", ["job_id", "sequence"])
    op.create_table(
        "chunks",
        sa.Column("job_id", _ID, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("ordinal", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("start", _NUMBER, nullable=False),
        sa.Column("end", _NUMBER, nullable=False),
        sa.Column("first_record", _NUMBER, nullable=False),
        sa.Column("first_line", _NUMBER, nullable=False),
        sa.Column("records", _NUMBER),
        sa.Column("refused", sa.Text),
        sa.Column("counts", sa.Text),
    )
    op.create_table(
        "requests",
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("job_id", _ID, sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("time", _TIME, nullable=False),
    )
    op.create_index("requests_by_job", "requests", ["job_id"])

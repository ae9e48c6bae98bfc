"""Jobs that the daemon holds while a disk is full, and leftovers of deleted jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_ID = sa.String(63)
_TIME = sa.String(32)


def upgrade() -> None:
    """Create both tables, and the indexes by which retention finds old jobs."""
    op.create_table(
        "holds",
        sa.Column("job_id", _ID, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("time", _TIME, nullable=False),
    )
    op.create_table(
        "discards",
        sa.Column("sequence", _NUMBER, primary_key=True),
        sa.Column("uid", sa.String(36), nullable=False, unique=True),
        sa.Column("job_id", _ID, nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("time", _TIME, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("jobs_by_end", "jobs", ["state", "end_time"])
    op.create_index("jobs_by_uid", "jobs", ["uid"])

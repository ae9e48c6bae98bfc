"""Jobs have owners and can be shared; requests belong to their callers and outlive their jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_ID = sa.String(63)
_TIME = sa.String(32)


def upgrade() -> None:
    """Add the columns and their indexes. Existing jobs and requests have no owner."""
    op.add_column("jobs", sa.Column("owner", sa.Text, nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("shared", sa.Boolean, nullable=False, server_default="0"))
    op.create_index("jobs_by_owner", "jobs", ["owner", "sequence"])
    op.create_index("jobs_shared", "jobs", ["sequence"], sqlite_where=sa.text("shared = 1"))
    op.create_index("changes_withdrawn", "changes", ["revision"], sqlite_where=sa.text("kind = 'WITHDRAWN'"))
    op.rename_table("requests", "requests_of_before")
    op.drop_index("requests_by_job", "requests_of_before")
    op.create_table(
        "requests",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("job_id", _ID, nullable=False),
        sa.Column("job_uid", sa.String(36), nullable=False),
        sa.Column("time", _TIME, nullable=False),
    )
    op.create_index("requests_by_time", "requests", ["time"])
    op.execute(
        sa.text(
            "INSERT INTO requests (owner, request_id, digest, job_id, job_uid, time) "
            "SELECT '', before.request_id, before.digest, jobs.id, jobs.uid, before.time "
            "FROM requests_of_before AS before JOIN jobs ON jobs.id = before.job_id"
        )
    )
    op.drop_table("requests_of_before")

"""Leftovers of cancelled jobs, beside those of deleted ones."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the column. Jobs that were cancelled earlier may have left something as well."""
    op.add_column("discards", sa.Column("deleted", sa.Boolean, nullable=False, server_default="1"))
    op.execute(
        "INSERT INTO discards (uid, job_id, plan, time, deleted)"
        " SELECT uid, id, plan, update_time, 0 FROM jobs WHERE state = 'CANCELED' AND attempt > 0"
    )

"""Chunks know how many records the files before theirs have."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the column. Older plans do not ask for it."""
    op.add_column("chunks", sa.Column("earlier_records", sa.Integer, nullable=False, server_default="0"))

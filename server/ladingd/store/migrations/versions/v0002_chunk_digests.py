"""Chunks get a digest of their bytes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; existing chunks have no digest."""
    op.add_column("chunks", sa.Column("digest", sa.Text))

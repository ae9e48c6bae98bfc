"""Chunks carry what their bytes add up to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; chunks of before have none."""
    op.add_column("chunks", sa.Column("digest", sa.Text))

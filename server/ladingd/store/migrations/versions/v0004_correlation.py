"""Jobs and changes say for which call they came about."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns; of those of before nobody knows."""
    for table in ("jobs", "changes"):
        op.add_column(table, sa.Column("correlation", sa.Text, nullable=False, server_default=""))

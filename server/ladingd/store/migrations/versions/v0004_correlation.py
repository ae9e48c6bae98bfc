"""Jobs and changes name the call that caused them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns; the calls of existing rows are unknown."""
    for table in ("jobs", "changes"):
        op.add_column(table, sa.Column("correlation", sa.Text, nullable=False, server_default=""))

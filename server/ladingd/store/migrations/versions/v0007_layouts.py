"""Plans get a layout (format and details) for their file; chunks get a phase."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_PLANS = (("jobs", "plan", "$"), ("changes", "job", "$.plan"), ("discards", "plan", "$"))
"""Where plans are stored: table, column, path in the document."""


def upgrade() -> None:
    """Convert the dialect of each plan, and the header of an export, to a layout of the format CSV."""
    op.add_column("chunks", sa.Column("phase", sa.Integer, nullable=False, server_default="0"))
    for table, column, plan in _PLANS:
        dialect, header = f"json_extract({column}, '{plan}.dialect')", f"json_extract({column}, '{plan}.header')"
        details = (
            f"CASE WHEN {header} IS NULL THEN json({dialect})"
            f" ELSE json_set({dialect}, '$.header', CASE {header} WHEN 0 THEN 'absent' ELSE 'present' END) END"
        )
        kept = f"json_remove({column}, '{plan}.dialect', '{plan}.header')"
        layout = f"json_object('format', 'csv', 'details', {details})"
        changed = f"json_set({kept}, '{plan}.layout', {layout})"
        op.execute(sa.text(f"UPDATE {table} SET {column} = {changed} WHERE {dialect} IS NOT NULL"))  # noqa: S608

"""Tokens and the audit trail."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_WORD = sa.String(32)
_TIME = sa.String(32)


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "tokens",
        sa.Column("sequence", _NUMBER, primary_key=True),
        sa.Column("id", sa.String(16), nullable=False, unique=True),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("role", _WORD, nullable=False),
        sa.Column("connections", sa.Text, nullable=False),
        sa.Column("roots", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.Column("expire_time", _TIME),
        sa.Column("revoke_time", _TIME),
        sqlite_autoincrement=True,
    )
    op.create_index("tokens_by_name", "tokens", ["name"])
    op.create_table(
        "audit",
        sa.Column("sequence", _NUMBER, primary_key=True),
        sa.Column("time", _TIME, nullable=False),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("peer", sa.Text, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("resource", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )

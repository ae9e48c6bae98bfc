"""Imports have several files: what specs and plans said of their only file becomes the first one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_SPECS = (("jobs", "spec", "$"), ("changes", "job", "$.spec"))
"""Where specs are stored: table, column, path in the document."""

_PLANS = (("jobs", "plan", "$"), ("changes", "job", "$.plan"), ("discards", "plan", "$"))
"""Where plans are stored."""

_OF_FILE = ("fingerprint", "layout", "content", "start", "end", "first_line")
"""What a plan says of a file, besides its location."""


def upgrade() -> None:
    """Put the file of each import into a list."""
    for table, column, spec in _SPECS:
        file, kept = f"json_extract({column}, '{spec}.file')", f"json_remove({column}, '{spec}.file')"
        changed = f"json_set({kept}, '{spec}.files', json_array(json({file})))"
        op.execute(sa.text(f"UPDATE {table} SET {column} = {changed} WHERE {_is_import(column, spec)}"))  # noqa: S608
    for table, column, plan in _PLANS:
        # Plans of earlier versions may lack the content: a patch leaves out what is null.
        facts = ", ".join(f"'{name}', json({column} -> '{plan}.{name}')" for name in _OF_FILE)
        name = f"'name', {column} ->> '{plan}.file.path'"
        file = f"json_patch('{{}}', json_object({name}, 'location', json({column} -> '{plan}.file'), {facts}))"
        paths = ", ".join(f"'{plan}.{name}'" for name in ("file", *_OF_FILE))
        changed = f"json_set(json_remove({column}, {paths}), '{plan}.files', json_array(json({file})))"
        op.execute(sa.text(f"UPDATE {table} SET {column} = {changed} WHERE {_is_import(column, plan)}"))  # noqa: S608


def _is_import(column: str, document: str) -> str:
    return f"{column} ->> '{document}.kind' = 'import' AND {column} -> '{document}.file' IS NOT NULL"

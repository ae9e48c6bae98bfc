"""Identifies the table of a job by the relation itself, not by its name.

A relation keeps its oid until it is dropped. TRUNCATE keeps the oid and gives the relation new storage. So do VACUUM
FULL, CLUSTER and some forms of ALTER TABLE, which lose no rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg import sql

    from ladingd.data.databases.postgres.session import Session

_MAY_ASK = "SELECT has_function_privilege('pg_control_system()', 'EXECUTE')"
_SYSTEM = "SELECT system_identifier::text FROM pg_control_system()"
# Functions over oids see the current catalog even if the transaction has an older snapshot. The rows of a partitioned
# table are in its leaves.
_IDENTITY = """
WITH RECURSIVE named AS (SELECT to_regclass(%s)::oid AS oid), tree AS (
    SELECT oid FROM named WHERE oid IS NOT NULL
    UNION SELECT i.inhrelid FROM pg_inherits i JOIN tree ON tree.oid = i.inhparent
        JOIN pg_class c ON c.oid = tree.oid AND c.relkind = 'p'
)
SELECT d.oid::bigint, named.oid::bigint,
    (SELECT jsonb_object_agg(tree.oid::text, pg_relation_filenode(tree.oid)::bigint) FROM tree
     WHERE pg_relation_filenode(tree.oid) IS NOT NULL)
FROM pg_database d, named WHERE d.datname = current_database()
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """A relation in a database of a server. ``storage`` has the file node of each part that holds rows, by oid."""

    system: str
    """The system identifier of the server's data; empty if the account may not read it."""
    database: int
    relation: int
    storage: Mapping[str, int]

    def is_same(self, other: Identity) -> bool:
        """Whether it is the same relation, even if its rows were replaced."""
        systems = {self.system, other.system} - {""}
        return len(systems) <= 1 and (self.database, self.relation) == (other.database, other.relation)

    def holds(self, other: Identity) -> bool:
        """Whether all storage of the other identity still exists."""
        return all(self.storage.get(oid) == node for oid, node in other.storage.items())

    def encode(self) -> str:
        """The stored form."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> Identity:
        """From the stored form."""
        return cls(**json.loads(text))


def read_identity(session: Session, name: sql.Identifier) -> Identity | None:
    """The relation with this name; None if there is none."""
    database, relation, storage = session.rows(_IDENTITY, (name.as_string(),))[0]
    if relation is None:
        return None
    system = session.constant(_SYSTEM)[0][0] if session.constant(_MAY_ASK)[0][0] else ""
    return Identity(system=system, database=database, relation=relation, storage=storage or {})

"""Tries a PostgreSQL database without making or changing anything."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ladingd.data.databases.postgres.session import connected
from ladingd.data.databases.provider import Answer

if TYPE_CHECKING:
    from ladingd.data.databases.postgres.session import Address

_ABOUT = """
SELECT clock_timestamp(), current_setting('server_version'), pg_is_in_recovery(), current_user,
       EXISTS (SELECT FROM pg_namespace WHERE nspname = %s),
       has_database_privilege(current_database(), 'CREATE')
"""


def try_out(address: Address, ledger_schema: str) -> Answer:
    """Connect and ask what jobs need to know. Raises TargetUnavailable, TargetRefused."""
    with connected(address, read_only=True) as session:
        begin = datetime.now(UTC)
        ((now, version, standby, account, has_ledger, may_create),) = session.rows(_ABOUT, (ledger_schema,))
        middle = begin + (datetime.now(UTC) - begin) / 2
    reservation = ""
    if standby:
        reservation = "it is a standby, which takes no imports"
    elif not has_ledger and not may_create:
        reservation = (
            f"there is no schema {ledger_schema} for the ledger, and {account} may not make it; as an administrator: "
            f'CREATE SCHEMA "{ledger_schema}" AUTHORIZATION "{account}"'
        )
    return Answer(
        server=f"PostgreSQL {version.split()[0]}", ahead=(now - middle).total_seconds(), reservation=reservation
    )

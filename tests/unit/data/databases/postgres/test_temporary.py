"""Accounts that may not create what finds the records that a table refuses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from ladingd.core.errors import TargetRefused
from ladingd.core.spec import Reconciliation
from ladingd.data.databases.postgres.session import close_idle
from tests.unit.data.databases.postgres.test_merge import merge

if TYPE_CHECKING:
    from tests.unit.data.databases.postgres.conftest import Quay
    from tests.unit.data.databases.postgres.test_merge import Merging

__all__ = ["merge"]

MAY_NOT = {
    "REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC": "GRANT TEMPORARY ON DATABASE {name} TO",
    "REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC": "GRANT USAGE ON LANGUAGE plpgsql TO",
    "DROP EXTENSION plpgsql": "CREATE EXTENSION plpgsql;",
}


@pytest.mark.parametrize(("change", "advice"), MAY_NOT.items())
@pytest.mark.parametrize("key", [("id",), ()], ids=["merge", "import"])
def test_it_hears_what_an_administrator_can_run(
    quay: Quay, merge: Merging, key: tuple[str, ...], change: str, advice: str
) -> None:
    name = f'"{quay.sql("SELECT current_database()")[0][0]}"'
    quay.sql(
        "CREATE TABLE t (id int PRIMARY KEY, n int);"
        "CREATE INDEX ON t ((1 / (n - 1)));"  # No query finds what violates it.
        f"CREATE ROLE purser LOGIN; GRANT CREATE ON DATABASE {name} TO purser; GRANT ALL ON t TO purser;"
    )
    quay.sql(change.format(name=name))
    try:
        with pytest.raises(TargetRefused, match=re.escape(advice.format(name=name))):
            merge("id,n\n1,1\n2,2\n", Reconciliation(key=key), url=quay.url.replace("postgres:", "purser:", 1))
    finally:
        close_idle()
        quay.sql("DROP OWNED BY purser CASCADE; DROP ROLE purser")

"""Hooks on a server of PostgreSQL: what cannot be a hook, and what their errors say."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest

from ladingd.core.errors import TargetBusy, TargetRefused
from ladingd.data.databases.hooks import Hook, HookRun
from ladingd.data.databases.postgres.session import Address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.data.databases.postgres.conftest import Quay


def run(quay: Quay, sql: str, name: str = "before 1", job: str = "job") -> HookRun:
    return quay.target.run_hook(job, 1, Hook(name=name, sql=sql), lambda: None)


@contextmanager
def account(quay: Quay, role: str, *grants: str) -> Iterator[Quay]:
    """The same database with the rights of a role."""
    quay.sql(f"CREATE ROLE {role} LOGIN; {'; '.join(grant.format(role=role) for grant in grants)}")
    try:
        address = Address(name="quay", url=quay.url.replace("//postgres:@", f"//{role}:@"))
        yield replace(quay, target=replace(quay.target, address=address))
    finally:
        quay.sql(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.parametrize(
    "sql",
    ["VACUUM t", "CREATE INDEX CONCURRENTLY i ON t (id)", "CREATE DATABASE other", "ALTER SYSTEM SET work_mem = 1"],
)
def test_what_cannot_run_in_a_transaction_is_refused_and_explained(quay: Quay, sql: str) -> None:
    quay.sql("CREATE TABLE t (id int)")
    with pytest.raises(TargetRefused, match=r"hook before 1 failed: .*; a hook is one transaction, so"):
        run(quay, sql)
    assert quay.sql("SELECT to_regclass('lading.hook')") == [(None,)], "everything was rolled back"


def test_statements_may_use_everything_that_a_text_can_contain(quay: Quay) -> None:
    quay.sql("CREATE TABLE t (id int, v text)")
    text = r"""
        INSERT INTO t VALUES (1, '%s {0} $1 $body$ \'), (2, E'it''s\n');  -- a comment; with a semicolon
        DO $body$ BEGIN UPDATE t SET v = v || '!' WHERE id = 1; END $body$;
        WITH gone AS (DELETE FROM t WHERE id = 2 RETURNING 1) SELECT count(*) FROM gone
    """
    assert run(quay, text).rows == 1
    assert quay.sql("SELECT * FROM t") == [(1, "%s {0} $1 $body$ \\!")]


def test_settings_of_a_hook_end_with_it(quay: Quay) -> None:
    quay.sql("CREATE TABLE t (id int, name text)")
    run(quay, "SET search_path = pg_catalog; SET DateStyle = 'German'; CREATE TEMP TABLE t (id int)")
    assert quay.write({"id": [1], "name": ["a"]}).inserted == 1
    assert quay.sql("SELECT id FROM public.t") == [(1,)]


def test_what_a_hook_raises_is_shown_and_a_value_of_the_table_is_not(quay: Quay) -> None:
    quay.sql("CREATE TABLE t (v text); INSERT INTO t VALUES ('4111 1111')")
    with pytest.raises(TargetRefused, match=r"hook after 1 failed: connection quay: only 1 row\(s\)$"):
        run(quay, "DO $$ BEGIN RAISE EXCEPTION 'only % row(s)', 1; END $$", "after 1")
    with pytest.raises(TargetRefused, match="hook after 1 failed") as caught:
        run(quay, "SELECT v::int FROM t", "after 1")
    assert "4111" not in caught.value.message
    assert "22P02" in caught.value.message


def test_no_message_shows_the_password(quay: Quay) -> None:
    address = Address(name="quay", url=quay.url, password="hunter22")
    secured = replace(quay, target=replace(quay.target, address=address))
    for sql in (
        "DO $$ BEGIN RAISE EXCEPTION '% %', 'hunt' || 'er22', 1; END $$",
        "DO $$ BEGIN EXECUTE format('SELECT * FROM %I', 'hunt' || 'er22'); END $$",
    ):
        with pytest.raises(TargetRefused, match=r"\*\*\*") as caught:
            run(secured, sql)
        assert "hunter22" not in str(caught.value)


def test_a_hook_has_the_rights_of_the_account(quay: Quay) -> None:
    quay.sql("CREATE TABLE t (id int); CREATE TABLE mine (id int); INSERT INTO t VALUES (1)")
    database = quay.sql("SELECT current_database()")[0][0]
    with account(quay, f"hooker_{database}", f"GRANT CREATE ON DATABASE {database} TO {{role}}",
                 "GRANT ALL ON mine TO {role}") as clerk:  # fmt: skip
        with pytest.raises(TargetRefused, match="permission denied for table t"):
            run(clerk, "DELETE FROM t")
        assert run(clerk, "INSERT INTO mine VALUES (1), (2)").rows == 2


def test_a_ledger_without_the_table_of_hooks_serves_jobs_without_hooks(quay: Quay) -> None:
    quay.sql("CREATE TABLE t (id int, name text)")
    quay.write({"id": [1], "name": ["a"]})
    quay.sql("DROP TABLE lading.hook")
    role = "clerk_of_" + quay.sql("SELECT current_database()")[0][0]
    grants = (
        "GRANT USAGE ON SCHEMA lading TO {role}",
        "GRANT ALL ON ALL TABLES IN SCHEMA lading TO {role}",
        "GRANT ALL ON t TO {role}",
    )
    with account(quay, role, *grants) as clerk:
        assert clerk.write({"id": [2], "name": ["b"]}, job="other").inserted == 1
        clerk.target.discard("other")
        with pytest.raises(TargetRefused, match=r"an administrator can run: .*CREATE TABLE IF NOT EXISTS .*hook"):
            run(clerk, "SELECT 1")


def test_a_locked_table_is_waited_for(quay: Quay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ladingd.data.databases.postgres.session._BEGIN", "BEGIN; SET LOCAL lock_timeout = '50ms'")
    quay.sql("CREATE TABLE t (id int)")
    with psycopg.connect(quay.url) as other:
        other.execute("LOCK TABLE t")
        with pytest.raises(TargetBusy):
            run(quay, "TRUNCATE t")
    assert not run(quay, "TRUNCATE t").earlier

"""Loaded into the forkserver of a daemon under test, so that its workers have these failpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ladingd.data.databases.registry import preload
from tests.chaos.failpoint import Failpoint, Failpoints, Moment, Side, Switch, install, replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from ladingd.data.databases.duckdb.ledger import Ledger as DuckdbLedger
    from ladingd.data.databases.postgres.ledger import Ledger
    from ladingd.data.databases.sqlite.session import Session

POSTGRES = "ladingd.data.databases.postgres"
DUCKDB = "ladingd.data.databases.duckdb"
SQLITE = "ladingd.data.databases.sqlite"

SLICE_BYTES = 5_000

DESTINATION = "ladingd.data.exports.destination:Destination"
COMMIT = "ladingd.data.databases.commit:ChunkCommit"

install(
    (
        Failpoint(moment=Moment.BEFORE_CLAIM, side=Side.BEFORE, place=f"{COMMIT}._claim"),
        Failpoint(moment=Moment.AFTER_CLAIM, side=Side.AFTER, place=f"{COMMIT}._claim"),
        Failpoint(moment=Moment.REJECTS, side=Side.AFTER, place="ladingd.data.storage.work_dir:sync_file"),
        Failpoint(moment=Moment.SPOOLING, side=Side.AFTER, place="ladingd.data.files.spooled:whole_lines"),
        Failpoint(moment=Moment.SPOOLED, side=Side.AFTER, place="ladingd.data.files.spooled:_write"),
        Failpoint(moment=Moment.PUT, side=Side.AFTER, place=f"{DESTINATION}.put"),
        Failpoint(moment=Moment.ENTERED, side=Side.AFTER, place="ladingd.data.exports.ledger:Ledger.write"),
        Failpoint(moment=Moment.COMPLETE, side=Side.AFTER, place=f"{DESTINATION}.complete"),
        Failpoint(moment=Moment.PUBLISHED, side=Side.AFTER, place=f"{DESTINATION}.publish"),
        Failpoint(moment=Moment.KEYS, side=Side.BEFORE, place=f"{POSTGRES}.key_locks:_shown"),
        Failpoint(moment=Moment.BEFORE_COMMIT, side=Side.AFTER, place=f"{COMMIT}._carry_out"),
        Failpoint(moment=Moment.AFTER_COMMIT, side=Side.AFTER, place=f"{COMMIT}.run"),
        Failpoint(moment=Moment.HOOK_RUN, side=Side.AFTER, place=f"{POSTGRES}.hooks:PostgresHook.execute"),
        Failpoint(moment=Moment.HOOK_RUN, side=Side.AFTER, place=f"{SQLITE}.hooks:SqliteHook.execute"),
        Failpoint(moment=Moment.HOOK_RUN, side=Side.AFTER, place=f"{DUCKDB}.hooks:DuckdbHook.execute"),
        Failpoint(moment=Moment.HOOK_COMMITTED, side=Side.AFTER, place="ladingd.data.databases.hooks:Hook.run"),
        Failpoint(
            moment=Moment.COLUMNS_ADDED,
            side=Side.AFTER,
            place="ladingd.data.imports.importer:TableImport.add_columns",
        ),
        *(
            Failpoint(moment=moment, side=Side.BEFORE, place=f"{module}:{name}")
            for module in {*preload(), f"{DUCKDB}.target"}
            if module.endswith(".target")
            for moment, name in ((Moment.BEGIN, "check_table"), (Moment.COLUMNS, "missing_columns"))
        ),
    )
)


def _postgres_claim(claim: Callable[[Ledger, str, int, int], bool]) -> Callable[[Ledger, str, int, int], bool]:
    """If switched off, the ledger never knows a chunk."""

    def claimed(self: Ledger, job_uid: str, attempt: int, chunk: int) -> bool:
        if Failpoints.of_environment().lacks(Switch.LEDGER):
            forget = f"DELETE FROM {self.schema}.ledger WHERE job = %s AND chunk = %s"
            self.session.run(forget, (job_uid, chunk))
        return claim(self, job_uid, attempt, chunk)

    return claimed


def _sqlite_claim(claim: Callable[[Session, str, int, int], bool]) -> Callable[[Session, str, int, int], bool]:
    """The same for SQLite."""

    def claimed(transaction: Session, job_uid: str, attempt: int, chunk: int) -> bool:
        if Failpoints.of_environment().lacks(Switch.LEDGER):
            transaction.run("DELETE FROM lading_ledger WHERE job = ? AND chunk = ?", (job_uid, chunk))
        return claim(transaction, job_uid, attempt, chunk)

    return claimed


def _duckdb_claim(
    claim: Callable[[DuckdbLedger, str, int, int], bool],
) -> Callable[[DuckdbLedger, str, int, int], bool]:
    """The same for DuckDB. The entry stays, because a transaction cannot insert a key that it has deleted."""

    def claimed(self: DuckdbLedger, job_uid: str, attempt: int, chunk: int) -> bool:
        return claim(self, job_uid, attempt, chunk) or Failpoints.of_environment().lacks(Switch.LEDGER)

    return claimed


# The merges of these small files have several slices.
replace("ladingd.data.mapping.reconciliation:_SMALL", lambda _: 0)
replace("ladingd.data.databases.target:Target.slice_bytes", lambda _: SLICE_BYTES)
replace(f"{SQLITE}.target:SqliteTarget.slice_bytes", lambda _: SLICE_BYTES)
replace(f"{DUCKDB}.target:DuckdbTarget.slice_bytes", lambda _: SLICE_BYTES)
replace(f"{POSTGRES}.ledger:Ledger.claim", _postgres_claim)
replace(f"{SQLITE}.ledger:claim", _sqlite_claim)
replace(f"{DUCKDB}.ledger:Ledger.claim", _duckdb_claim)

"""Runs the SQL of a job before its first and after its last record, exactly once.

A hook and its entry in the ledger are one transaction, in this order:

1. Claim the hook: insert its entry. An entry that is already there says that the hook has run.
2. Run the SQL.
3. Write into the entry how many rows the last statement touched, and how long it all took.
4. Commit.

So SQL that cannot run in a transaction cannot be a hook. If the outcome of the commit is unknown, the hook is tried
again, and the ledger decides.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from ladingd.core.errors import TargetRefused, TargetUnavailable
from ladingd.data.databases.commit import CONFLICT_TRIES, Conflict, OutcomeUnknown

_RULE = "a hook is one transaction"
OWN_TRANSACTION = f"{_RULE}: leave out BEGIN, COMMIT, ROLLBACK and SAVEPOINT"
"""What to do about SQL that begins or ends transactions."""
_HINT = f"; {_RULE}, so a statement that cannot run in one cannot be a hook"


@dataclass(frozen=True, kw_only=True, slots=True)
class HookRun:
    """A hook that has run."""

    rows: int | None
    """The rows that its last statement touched; None if that is no number of rows."""
    seconds: float
    earlier: bool = False
    """It has run before this call."""


class HookTransaction(ABC):
    """A transaction in a target, for one hook. Methods raise the errors of targets."""

    @abstractmethod
    def claim(self, job_uid: str, attempt: int, hook: str) -> bool:
        """Insert the entry of a hook; False if the hook has run. Waits for another transaction with the same entry."""

    @abstractmethod
    def entry(self, job_uid: str, hook: str) -> HookRun:
        """The entry of a hook that has run."""

    @abstractmethod
    def execute(self, sql: str) -> int | None:
        """Run SQL of a user: one or more statements. Returns the rows that the last one touched.

        Raises TargetRefused, with the database's message but without secrets, if it fails or would end the transaction.
        """

    @abstractmethod
    def count(self, job_uid: str, hook: str, run: HookRun) -> None:
        """Write the run into the entry of a claimed hook."""

    @abstractmethod
    def commit(self) -> None:
        """Make everything durable. Raises OutcomeUnknown if the outcome is unknown."""


HookOpening = Callable[[str, int], AbstractContextManager[HookTransaction]]
"""Begins the transaction of a hook for a job and its attempt: `Target.hooking`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hook:
    """A hook of a job."""

    name: str
    """Its name in the ledger: ``before 1``."""
    sql: str

    def run(self, job_uid: str, attempt: int, opening: HookOpening, check: Callable[[], None]) -> HookRun:
        """Run the hook unless it has run. ``check`` is called before it runs."""
        trouble: TargetUnavailable | None = None
        for _ in range(CONFLICT_TRIES):
            try:
                return self._try(job_uid, attempt, opening, check)
            except (Conflict, OutcomeUnknown) as error:
                trouble = error
        raise TargetUnavailable(f"hook {self.name} was rolled back {CONFLICT_TRIES} times") from trouble

    def _try(self, job_uid: str, attempt: int, opening: HookOpening, check: Callable[[], None]) -> HookRun:
        with opening(job_uid, attempt) as transaction:
            if not transaction.claim(job_uid, attempt, self.name):
                return transaction.entry(job_uid, self.name)
            check()
            begun = time.monotonic()
            try:
                rows = transaction.execute(self.sql)
            except TargetRefused as error:
                told = error.message.lower()
                hint = _HINT if "transaction" in told and _RULE not in told else ""
                raise TargetRefused(f"hook {self.name} failed: {error.message}{hint}") from error
            run = HookRun(rows=rows, seconds=time.monotonic() - begun)
            transaction.count(job_uid, self.name, run)
            transaction.commit()
            return run

"""The outcome of a job, and its differences from that of an undisturbed job."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lading_client.model import Bill, Counters

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lading_client.model import Reject

Fact = tuple[object, ...]
Accounts = tuple[Bill, Counters]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """All rows of the target, all rejects without their times, and the bill and counters."""

    rows: Counter[Fact]
    rejects: Counter[Fact]
    bill: Bill
    counters: Counters

    @classmethod
    def of(
        cls, *, table: str, rows: Iterable[Fact], rejects: Iterable[Reject], lines: Sequence[str], accounts: Accounts
    ) -> Outcome:
        """``lines`` are the lines of the file. The first of several equal records stands for all. Without them, no two
        records are equal."""
        first: dict[str, int] = {}
        for number, line in enumerate(lines, start=1):
            first.setdefault(line, number)
        bill, counters = accounts
        return cls(
            rows=Counter(rows),
            rejects=Counter(_fact(reject, table, first[reject.raw] if lines else reject.line) for reject in rejects),
            bill=bill,
            counters=counters,
        )

    @property
    def digest(self) -> str:
        """A hash of the rows, rejects and accounts."""
        parts = (sorted(map(repr, self.rows.elements())), sorted(map(repr, self.rejects.elements())))
        return hashlib.sha256(repr((parts, self.bill, self.counters)).encode()).hexdigest()


def _fact(reject: Reject, table: str, line: int) -> Fact:
    record = line - reject.line + reject.record
    message = reject.message.replace(table, "TABLE")
    return (
        *(reject.type, line, record, reject.raw, reject.column, reject.value, reject.connector, reject.code),
        message,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """What an outcome lacks, and what it has in addition."""

    lost: Counter[Fact]
    doubled: Counter[Fact]
    accounts: str
    """The differences of bill and counters; empty if there are none."""

    @classmethod
    def between(cls, undisturbed: Outcome, outcome: Outcome) -> Difference:
        """Compare rows, rejects and accounts."""
        expected, found = undisturbed.rows + undisturbed.rejects, outcome.rows + outcome.rejects
        accounts = (undisturbed.bill, undisturbed.counters), (outcome.bill, outcome.counters)
        return cls(
            lost=expected - found,
            doubled=found - expected,
            accounts="" if accounts[0] == accounts[1] else f"{accounts[1]} instead of {accounts[0]}",
        )

    def __bool__(self) -> bool:
        return bool(self.lost or self.doubled or self.accounts)

    def __str__(self) -> str:
        parts = [f"{self.lost.total()} lost, {self.doubled.total()} doubled"]
        parts += [f"lost: {fact}" for fact in list(self.lost)[:3]]
        parts += [f"doubled: {fact}" for fact in list(self.doubled)[:3]]
        return "; ".join([*parts, *([self.accounts] if self.accounts else [])])

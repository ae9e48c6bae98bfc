"""Evaluates expressions in DuckDB, shut in: no files, no network, no extensions, and limits for memory and time."""

from __future__ import annotations

import json
import os
import resource
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from ladingd.core.errors import ExpressionStopped
from ladingd.data.mapping.syntax import LONGEST, PREFIX, BadExpression, Needs, needs_of

if TYPE_CHECKING:
    import duckdb

T = TypeVar("T")

MEMORY = 512 << 20
"""The bytes that expressions may take for the records of a chunk."""
SECONDS = 60.0
"""How long the expressions of a job may take for the records of a chunk."""
CHECK_SECONDS = 10.0
"""How long the check of an expression may take. It may calculate constants."""
_GRACE = 5.0
"""Seconds that DuckDB has to end after it was interrupted."""
_FAREWELL = 2.0
"""Seconds until a process ends whose DuckDB did not: time for the answer to reach the daemon."""
_TOLD = 100
"""For how many failed records of a chunk the reason is looked up."""

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "memory_limit": f"{MEMORY >> 21}MiB",
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "errors_as_json": True,
}

_NO_SPILL = "SET temp_directory = ''"
"""Nothing is written to disk."""
_SHUT = "SET enable_external_access = false"
"""No files, no network, no other databases, no extensions."""
_ZONE = "SET TimeZone = 'UTC'"
"""Results must not depend on the machine."""
_UNOPTIMIZED = "PRAGMA disable_optimizer"
"""The optimizer would calculate constant parts when an expression is checked, without limits."""
_LOCK = "SET lock_configuration = true"
"""Nothing that follows can lift the limits."""
_PARSE = "SELECT json_serialize_sql(?, skip_default := true, skip_empty := true, skip_null := true)"
"""The tree of a statement, which is not executed."""
_RECORDS = "lading records"
"""What DuckDB calls the records."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Expression:
    """An expression that was checked. ``title`` is what messages call it: ``the expression of total``."""

    text: str
    title: str
    needs: Needs


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluated:
    """The values of an expression, null where it failed, and the messages of the failed rows."""

    values: pa.Array
    failed: Mapping[int, str] = field(default_factory=dict)


class Evaluator:
    """One connection. It is used by one thread at a time."""

    def __init__(self) -> None:
        import duckdb

        self._errors = duckdb.Error
        self._database: duckdb.DuckDBPyConnection = duckdb.connect(":memory:", config=_CONFIG)
        for statement in (_NO_SPILL, _SHUT, _ZONE, _UNOPTIMIZED, _LOCK):
            self._database.execute(statement)

    def parsed(self, text: str, title: str, columns: Sequence[str], variables: Sequence[str]) -> Expression:
        """Check what an expression says. Raises BadExpression."""
        text = text.strip().rstrip(";").rstrip()
        if not text:
            raise BadExpression("it is empty")
        if len(text) > LONGEST:
            raise BadExpression(f"it has more than {LONGEST:,} characters")
        try:
            found = self._database.execute(_PARSE, [PREFIX + text]).fetchall()
        except self._errors as error:
            raise _bad(error) from error
        tree = json.loads(found[0][0])
        if tree.get("error"):
            position = int(tree["position"]) - len(PREFIX) if tree.get("position") else None
            raise BadExpression(tree["error_message"], position)
        try:
            needs = needs_of(tree, columns, variables)
        except RecursionError:
            raise BadExpression("it is nested too deeply") from None
        return Expression(text=text, title=title, needs=needs)

    def kind(self, expression: Expression, records: pa.Table, variables: Mapping[str, Any]) -> str:
        """The type of the values of an expression over records like these, of which there need be none. Raises
        BadExpression."""
        none = records.slice(0, 0)
        try:
            kind = self._limited(
                expression, lambda: self._run(expression, none, variables, only_type=True), CHECK_SECONDS
            )
        except self._errors as error:
            self._check_limits(error, expression)
            raise _bad(error) from error
        return str(kind)

    def values(self, expression: Expression, records: pa.Table, variables: Mapping[str, Any]) -> Evaluated:
        """Evaluate an expression for each record. Raises ExpressionStopped."""
        return self._limited(expression, lambda: self._values(expression, records, variables))

    def _values(self, expression: Expression, records: pa.Table, variables: Mapping[str, Any]) -> Evaluated:
        try:
            return Evaluated(values=self._run(expression, records, variables))
        except self._errors as error:
            self._check_limits(error, expression)
        tried = self._try(expression, records, variables)
        rows = np.flatnonzero(tried.is_null().to_numpy(zero_copy_only=False))
        failed = {int(row): "it cannot be calculated" for row in rows}
        for row in rows[:_TOLD].tolist():
            try:
                self._run(expression, records.slice(row, 1), variables)
            except self._errors as error:
                self._check_limits(error, expression)
                failed[row] = _bad(error).problem
        return Evaluated(values=tried.field(0), failed=failed)

    def _try(self, expression: Expression, records: pa.Table, variables: Mapping[str, Any]) -> pa.StructArray:
        """The values in a struct, which is null where the expression fails."""
        try:
            values: pa.StructArray = self._run(expression, records, variables, "TRY(struct_pack(v := ({})))")
            return values
        except self._errors as error:
            self._check_limits(error, expression)
            raise ExpressionStopped(f"{expression.title} fails: {_bad(error).problem}") from error

    def _run(
        self,
        expression: Expression,
        records: pa.Table,
        variables: Mapping[str, Any],
        around: str = "({})",
        *,
        only_type: bool = False,
    ) -> Any:
        """The values of an expression for each record, or their type. ``around``: what is put around it."""
        text = around.format(f"{expression.text}\n")
        statement = f'SELECT {text} AS v FROM "{_RECORDS}"'  # noqa: S608 - the expression was checked
        parameters = {name: variables[name] for name in expression.needs.variables}
        self._database.register(_RECORDS, records)
        if only_type:  # Errors of execute have positions, those of sql have not.
            described = self._database.execute(statement, parameters or None)
            kind = described.description[0][1]
            described.fetchall()
            return kind
        found = self._database.sql(statement, params=parameters or None)
        values = found.to_arrow_table().column(0)
        return values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)

    def _limited(self, expression: Expression, work: Callable[[], T], seconds: float | None = None) -> T:
        """Do work within the limits; ``seconds`` None: those of a chunk. Raises ExpressionStopped, and what the work
        raises."""
        limit = SECONDS if seconds is None else seconds
        answers: SimpleQueue[tuple[bool, Any]] = SimpleQueue()

        def run() -> None:
            try:
                answers.put((True, work()))
            except Exception as error:
                answers.put((False, error))

        with _memory_limited():
            threading.Thread(target=run, daemon=True, name="expression").start()
            for patience in (limit, _GRACE):
                with suppress(Empty):
                    ended, answer = answers.get(timeout=patience)
                    break
                self._database.interrupt()
            else:
                # DuckDB looks for an interrupt between vectors only. The thread cannot be ended, so the process must.
                threading.Timer(_FAREWELL, os._exit, (1,)).start()
                raise ExpressionStopped(_too_long(expression))
        if ended:
            return answer  # type: ignore[no-any-return]
        if isinstance(answer, MemoryError):
            raise self._out_of_memory(expression) from answer
        raise answer

    def _check_limits(self, error: Exception, expression: Expression) -> None:
        """Raises ExpressionStopped if no record is to blame."""
        import duckdb

        if isinstance(error, duckdb.InterruptException):
            raise ExpressionStopped(_too_long(expression)) from error
        if isinstance(error, duckdb.OutOfMemoryException | duckdb.FatalException | duckdb.InternalException):
            raise self._out_of_memory(expression) from error

    @staticmethod
    def _out_of_memory(expression: Expression) -> ExpressionStopped:
        return ExpressionStopped(
            f"{expression.title} needs more than the {MEMORY >> 20} MiB of memory that it may take for one chunk"
        )


def _too_long(expression: Expression) -> str:
    return f"{expression.title} took longer than it may: {SECONDS:g} s for one chunk"


@contextmanager
def _memory_limited() -> Iterator[None]:
    """Limit the memory of this process: DuckDB's own limit does not cover the texts that a function makes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    wanted = size + MEMORY
    known = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([wanted, *known]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _bad(error: Exception) -> BadExpression:
    """The problem that DuckDB tells."""
    _, _, told = str(error).partition("{")
    try:
        facts = json.loads("{" + told)
    except ValueError:
        return BadExpression(str(error).splitlines()[0])
    problem = facts["exception_message"].splitlines()[0]
    if problem.startswith("No function matches"):
        problem = problem.partition(". You")[0].rstrip(".") + "; CAST(… AS …) and --type change types"
    for needless in (" in expression (", " You might need", " when casting from source column", " Use TRY("):
        problem = problem.partition(needless)[0]
    shift = len("SELECT (")
    return BadExpression(problem, int(facts["position"]) - shift if facts.get("position") else None)


@lru_cache(maxsize=1)
def evaluator() -> Evaluator:
    """The evaluator of this process. DuckDB takes 0.1 s to load, so only jobs with expressions load it."""
    return Evaluator()

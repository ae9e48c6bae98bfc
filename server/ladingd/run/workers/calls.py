"""Calls to worker processes on behalf of one job: their time limits and unexpected errors."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from ladingd.core.errors import LadingError, TargetUnavailable
from ladingd.run.workers.pool import Workers
from ladingd.telemetry.internal_errors import record_internal_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from ladingd.core.report import Report

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class JobCalls:
    """Calls worker processes for a job. Every error that leaves a call is a LadingError."""

    workers: Workers
    job_id: str

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function in a worker, as ``Workers.call`` does."""
        with only_domain_errors(self.job_id):
            return await self.workers.call(function, *args, **kwargs)

    async def follow(
        self, hear: Callable[[Report], None], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function in a worker and pass on what it reports, as ``Workers.follow`` does."""
        with only_domain_errors(self.job_id):
            return await self.workers.follow(hear, function, *args, **kwargs)


@asynccontextmanager
async def answer_within(seconds: float) -> AsyncIterator[None]:
    """Raise TargetUnavailable if the block takes longer."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise TargetUnavailable.no_answer(seconds) from None


@contextmanager
def only_domain_errors(job_id: str) -> Iterator[None]:
    """Let LadingErrors pass; log every other error and raise an internal error in its place."""
    try:
        yield
    except LadingError:
        raise
    except Exception as error:
        raise internal_error(job_id, error) from error


def internal_error(job_id: str, error: BaseException) -> LadingError:
    """Log an unexpected error. Returns an error that names only its id."""
    error_id = record_internal_error(error, f"jobs/{job_id}")
    return LadingError(f"internal error, id {error_id}: the daemon's log says more")

"""The jobs that a watch begins with, page by page."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ladingd.core.job import Job
from ladingd.core.selection import OLDEST_FIRST

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from ladingd.core.ports import ChangeStore, Check, JobStore
    from ladingd.core.selection import Selection
    from ladingd.run.watch.notifier import Notifier

LISTED_SECONDS = 2.0
"""How long a page is kept for further watchers: many come at once after a connection or a daemon was gone."""
PAGE = 100
"""Jobs that are read at once."""

_LISTED = 20
"""Pages that are kept at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapshotPage:
    """A page of jobs, read at this revision or after it; ``rung`` is the bell of that time."""

    revision: int
    jobs: tuple[Job, ...]
    next_token: str
    rung: asyncio.Event


class Snapshots:
    """Reads a page once for all watchers that come at the same time. A page is kept while ``outdated`` is false."""

    def __init__(self, jobs: JobStore, changes: ChangeStore, notifier: Notifier, outdated: Callable[[], bool]) -> None:
        self._jobs = jobs
        self._changes = changes
        self._notifier = notifier
        self._outdated = outdated
        self._listing = asyncio.Lock()
        self._listed: dict[tuple[Selection, str], SnapshotPage] = {}

    def forget(self) -> None:
        """Forget all pages: the progress that they show is outdated."""
        self._listed.clear()

    async def of_one(self, job_id: str, check: Check | None) -> AsyncGenerator[SnapshotPage, None]:
        """One page with one job. Raises JobNotFound, and what the check raises."""
        rung = self._notifier.listen()
        revision = await self._changes.revision()
        job = await self._jobs.get(job_id)
        if check is not None:
            check(job)
        yield SnapshotPage(revision=revision, jobs=(job,), next_token="", rung=rung)

    async def of_all(self, selection: Selection, revision: int) -> AsyncGenerator[SnapshotPage, None]:
        """The selected jobs, the oldest first, each as it was at this revision or after it.

        A slow watcher holds one page: there may be any number of jobs.
        """
        token = ""
        while True:
            page = await self._page(selection, token, revision)
            yield page
            if not (token := page.next_token):
                return

    async def _page(self, selection: Selection, token: str, revision: int) -> SnapshotPage:
        async with self._listing:
            key = (selection, token)
            page = self._listed.get(key)
            if page is None or page.revision < revision or self._outdated():
                rung = self._notifier.listen()
                # Before the page: what is read after it is at least as new.
                known = await self._changes.revision()
                found = await self._jobs.list(size=PAGE, token=token, selection=selection, order=OLDEST_FIRST)
                page = SnapshotPage(revision=known, jobs=found.items, next_token=found.next_token, rung=rung)
                while len(self._listed) >= _LISTED:
                    del self._listed[next(iter(self._listed))]
                self._listed[key] = page
                asyncio.get_running_loop().call_later(LISTED_SECONDS, self._expire, key, page)
            return page

    def _expire(self, key: tuple[Selection, str], page: SnapshotPage) -> None:
        if self._listed.get(key) is page:
            del self._listed[key]

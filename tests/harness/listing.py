"""Reads all jobs of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ladingd.core.selection import OLDEST_FIRST

if TYPE_CHECKING:
    from ladingd.core.job import Job
    from ladingd.core.ports import JobStore


async def everything(store: JobStore) -> tuple[int, tuple[Job, ...]]:
    """The revision and all jobs, the oldest first. Nobody may write meanwhile."""
    jobs: list[Job] = []
    token = None
    while token != "":
        page = await store.list(size=100, token=token or "", order=OLDEST_FIRST)
        jobs += page.items
        token = page.next_token
    return await store.revision(), tuple(jobs)

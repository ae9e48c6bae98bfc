"""A real daemon with tokens: which jobs a caller may see and change, and repeated requests after DeleteJob."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from lading_client.client import Client
from lading_client.errors import FailedPrecondition, LadingError, NotFound, PermissionDenied
from lading_client.model import State, WatchKind
from tests.harness.jobs import importing, rows
from tests.harness.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lading_client.model import Job
    from tests.harness.daemon import DaemonProcess

SECRET = "2023-02-30"
"""A value in a record, which callers without the right to read rejects must not see."""


class Site:
    """A daemon, and callers on its socket, each with a token."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self.daemon = daemon
        daemon.start()

    def as_(self, name: str, role: str, *more: str) -> Client:
        """A client with a new token. A submitter's token permits all connections and roots."""
        given = ["--connection", "local", "--root", "local"] if role == "submitter" and not more else list(more)
        arguments = ["--config", str(self.daemon.config), "token", "create", name, "--role", role, *given]
        made = subprocess.run(
            [sys.executable, "-m", "ladingd", *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert made.returncode == 0, made.stderr
        return Client(self.daemon.address, token=made.stdout.strip())

    def revoke(self, name: str) -> None:
        arguments = ["--config", str(self.daemon.config), "token", "revoke", name]
        subprocess.run([sys.executable, "-m", "ladingd", *arguments], timeout=PATIENCE, check=True)


@pytest.fixture
def site(make_daemon: Callable[..., DaemonProcess]) -> Site:
    return Site(make_daemon())


@pytest.fixture
def people(folder: Path) -> Path:
    """A file with one record that is rejected."""
    path = folder / "people.csv"
    path.write_text("id,born\n" + "".join(f"{n},2024-01-01\n" for n in range(200)) + f"200,{SECRET}\n")
    return path


async def ran(client: Client, path: Path) -> Job:
    job = await client.create_job(importing(path), label="people")
    async with asyncio.timeout(PATIENCE), aclosing(client.watch(job.name, revision=job.revision)) as events:
        await client.start_job(job.name)
        async for event in events:
            if event.job and event.job.state in (State.FINISHED, State.FAILED):
                assert event.job.state is State.FINISHED, event.job.failure
                return event.job
    raise AssertionError("the watch ended first")


async def text_of(client: Client, name: str) -> str:
    """The general facts and the journal of a job."""
    return repr([await client.get_job(name), *[entry async for entry in client.journal(name)]])


async def refusals(client: Client, name: str) -> set[str]:
    """The errors of all calls about a job, without the job's name."""

    async def rejects() -> None:
        async for _ in client.rejects(name):
            return

    async def journal() -> None:
        async for _ in client.journal(name):
            return

    async def watch() -> None:
        async for _ in client.watch(name):
            return

    ends = set()
    for call in (
        lambda: client.get_job(name),
        journal,
        rejects,
        watch,
        lambda: client.start_job(name),
        lambda: client.pause_job(name),
        lambda: client.cancel_job(name),
        lambda: client.delete_job(name),
        lambda: client.clone_job(name),
        lambda: client.update_job(name, label="x"),
        lambda: client.update_job(name, shared=True),
    ):
        try:
            await call()
            ends.add("OK")
        except LadingError as error:
            ends.add(f"{type(error).__name__}: {str(error).replace(name, 'JOB')}")
    return ends


async def test_a_submitter_finds_nothing_of_others(site: Site, people: Path) -> None:
    async with (
        site.as_("anna", "submitter") as anna,
        site.as_("ben", "submitter") as ben,
        site.as_("all", "admin") as admin,
    ):
        job = await ran(ben, people)
        assert job.owner == "ben"
        assert await refusals(anna, job.name) == await refusals(anna, "jobs/nobodys")
        assert [found async for found in anna.list_jobs()] == []
        assert [found.name async for found in ben.list_jobs(filter='owner = "ben"')] == [job.name]
        assert [found.name async for found in admin.list_jobs()] == [job.name]
        entries = [entry async for entry in admin.audit()]
        refused = {
            entry.method.rpartition("/")[2]
            for entry in entries
            if entry.principal == "anna" and entry.resource == job.name
        }
        assert refused == {
            *("GetJob", "ListJournalEntries", "ListRejects", "WatchJobs", "StartJob", "PauseJob", "CancelJob"),
            *("DeleteJob", "CloneJob", "UpdateJob"),
        }
        assert {entry.outcome for entry in entries if entry.principal == "anna"} == {"NOT_FOUND"}


async def test_rejects_are_for_their_owner_until_the_job_is_shared(site: Site, people: Path) -> None:
    async with (
        site.as_("anna", "submitter") as anna,
        site.as_("ben", "submitter") as ben,
        site.as_("op", "operator") as op,
    ):
        job = await ran(ben, people)
        (reject,) = [found async for found in ben.rejects(job.name)]
        assert reject.value == SECRET
        assert SECRET not in await text_of(op, job.name), "general facts and journals show no values"
        assert "line 202" in await text_of(ben, job.name)
        with pytest.raises(PermissionDenied):
            _ = [found async for found in op.rejects(job.name)]
        with pytest.raises(PermissionDenied):
            await op.update_job(job.name, shared=True)
        async with aclosing(anna.watch(bookmarks=True)) as events, asyncio.timeout(PATIENCE):
            assert (await anext(events)).kind is WatchKind.BOOKMARK
            await ben.update_job(job.name, shared=True)
            while (event := await anext(events)).kind is WatchKind.BOOKMARK:
                pass
            assert (event.kind, event.job and event.job.label) == (WatchKind.CHANGED, "people")
            for reader in (anna, op):
                assert [found async for found in reader.rejects(job.name)] == [reject]
            clone = await anna.clone_job(job.name)
            assert (clone.owner, clone.shared) == ("anna", False)
            with pytest.raises(PermissionDenied):
                await anna.delete_job(job.name)
            await ben.update_job(job.name, shared=False)
            while (event := await anext(events)).job is None or event.job.name != job.name:
                pass
            assert (event.kind, event.job.label) == (WatchKind.DELETED, "")
        with pytest.raises(NotFound):
            await anna.get_job(job.name)


async def test_a_token_of_the_same_name_has_the_rights_of_now(site: Site, people: Path) -> None:
    async with site.as_("robot", "submitter") as robot:
        job = await robot.create_job(importing(people))
    site.revoke("robot")
    async with site.as_("robot", "submitter", "--connection", "local") as robot:
        assert (await robot.get_job(job.name)).owner == "robot"
        with pytest.raises(PermissionDenied, match="'local'"):
            await robot.start_job(job.name)
        assert (await robot.get_job(job.name)).state is State.EDITING
        await robot.delete_job(job.name)


async def test_a_request_whose_job_was_deleted_does_not_run_it_again(site: Site, people: Path) -> None:
    request = str(uuid.uuid4())
    async with site.as_("anna", "submitter") as anna, site.as_("ben", "submitter") as ben:
        job = await anna.create_job(importing(people), request_id=request)
        other = await ben.create_job(importing(people), request_id=request)
        assert (other.owner, other.name != job.name) == ("ben", True), "a request_id is the caller's own"
        await anna.delete_job(job.name)
        with pytest.raises(FailedPrecondition, match=job.name) as refused:
            await anna.create_job(importing(people), request_id=request)
        assert refused.value.reason == "REQUEST_JOB_DELETED"
        assert [found async for found in anna.list_jobs()] == []
        await ran(ben, people)
    assert len(rows(site.daemon.target)) == 200


async def test_times_at_the_edge_of_the_calendar(site: Site) -> None:
    async with Client(site.daemon.address) as client:
        for time in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
            with pytest.raises(LadingError, match="is not a time"):
                _ = [job async for job in client.list_jobs(filter=f"create_time > {time}")]
        assert [job async for job in client.list_jobs(filter="create_time > 9999-12-31T23:59:59Z")] == []

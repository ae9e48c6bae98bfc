"""What a real daemon reports: log lines, correlation ids, metrics."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from typing import TYPE_CHECKING, Any

import grpc

from lading.v1 import job_pb2, spec_pb2
from lading.v1 import job_service_pb2 as pb
from lading.v1.job_service_pb2_grpc import JobServiceStub
from lading_client.client import Client
from lading_client.model import State
from tests.harness.jobs import followed, importing, write_people
from tests.harness.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness.daemon import DaemonProcess

OVER = {job_pb2.STATE_FINISHED, job_pb2.STATE_FAILED}


def lines(daemon: DaemonProcess) -> list[dict[str, Any]]:
    """The log, of which every line is JSON."""
    return [json.loads(line) for line in daemon.log.read_text().splitlines()]


def events(daemon: DaemonProcess) -> list[str]:
    return [line["event"] for line in lines(daemon) if "event" in line]


def scrape(path: Path) -> dict[str, float]:
    """The metrics, by name and labels."""
    with socket.socket(socket.AF_UNIX) as scraper:
        scraper.settimeout(PATIENCE)
        scraper.connect(str(path))
        scraper.sendall(b"GET /metrics HTTP/1.1\r\nHost: lading\r\nAccept: text/plain\r\n\r\n")
        answer = b"".join(iter(lambda: scraper.recv(1 << 16), b"")).decode()
    head, _, body = answer.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 OK")
    pairs = (line.rpartition(" ") for line in body.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def with_metrics(daemon: DaemonProcess) -> Path:
    """Let the daemon serve metrics. Returns the address."""
    place = daemon.folder / "m"
    daemon.config.write_text(daemon.config.read_text() + f'[metrics]\nsocket = "{place}"\n')
    return place


async def run(stub: Any, job: job_pb2.Job, call: str) -> str:
    """Create and start a job with these correlation ids, and watch it to its end. Returns its name."""
    created = stub.CreateJob(
        pb.CreateJobRequest(job=job), metadata=(("x-correlation-id", f"{call}-create"),), timeout=PATIENCE
    )
    name: str = (await created).name
    assert ("x-correlation-id", f"{call}-create") in tuple(await created.trailing_metadata())
    await stub.StartJob(
        pb.StartJobRequest(name=name), metadata=(("x-correlation-id", f"{call}-start"),), timeout=PATIENCE
    )
    watch = stub.WatchJobs(pb.WatchJobsRequest(name=name), timeout=PATIENCE)
    async for event in watch:
        if event.job.state in OVER:
            break
    watch.cancel()
    return name


def people(path: Path) -> job_pb2.Job:
    """An import of three records, of which one is refused."""
    path.write_text("id,name\n1,one\n2,two\nthree,three\n")
    files, target = [spec_pb2.File(path=str(path).lstrip("/"))], spec_pb2.Table(table="people")
    kind = spec_pb2.ImportSpec(files=files, target=target, types={"id": "integer"})
    return job_pb2.Job(spec=spec_pb2.JobSpec(import_spec=kind))


async def test_the_life_of_a_job_line_by_line(make_daemon: Callable[..., DaemonProcess]) -> None:
    daemon = make_daemon(log_level="DEBUG")
    daemon.start()
    async with grpc.aio.insecure_channel(daemon.address) as channel:
        stub: Any = JobServiceStub(channel)  # type: ignore[no-untyped-call]
        name = await run(stub, people(daemon.folder / "people.csv"), "shop-7")
        await stub.DeleteJob(pb.DeleteJobRequest(name=name), timeout=PATIENCE, metadata=(("x-correlation-id", "tidy"),))
    assert daemon.stop() == 0
    job = name.removeprefix("jobs/")
    known = ("event", "job", "revision", "from_state", "state", "cause", "attempt", "call")
    said = [
        {key: line[key] for key in known if key in line}
        for line in lines(daemon)
        if line.get("event", "").startswith("JOB_")
    ]
    assert said == [
        {"event": "JOB_CREATED", "job": job, "revision": 1, "state": "EDITING", "call": "shop-7-create"},
        {
            "event": "JOB_STARTED",
            "job": job,
            "revision": 2,
            "from_state": "EDITING",
            "state": "QUEUED",
            "cause": "START",
            "call": "shop-7-start",
        },
        {
            "event": "JOB_RUNNING",
            "job": job,
            "revision": 3,
            "from_state": "QUEUED",
            "state": "RUNNING",
            "cause": "SLOT_FREE",
            "attempt": 1,
            "call": "shop-7-start",
        },
        {
            "event": "JOB_FINISHED",
            "job": job,
            "revision": 4,
            "from_state": "RUNNING",
            "state": "FINISHED",
            "cause": "COMPLETE",
            "attempt": 1,
            "call": "shop-7-start",
        },
        {
            "event": "JOB_DELETED",
            "job": job,
            "revision": 5,
            "from_state": "FINISHED",
            "attempt": 1,
            "call": "tidy",
        },
    ]
    assert [event for event in events(daemon) if event.startswith("DAEMON_")] == [
        "DAEMON_STARTING",
        "DAEMON_READY",
        "DAEMON_STOPPING",
        "DAEMON_STOPPED",
    ]
    (bill,) = [line["bill"] for line in lines(daemon) if "bill" in line]
    assert (bill["read"], bill["inserted"], bill["rejected"]) == (3, 2, 1)
    (worker,) = [line for line in lines(daemon) if line["logger"] == "ladingd.data.transfer"]
    assert (worker["job"], worker["attempt"], worker["chunk"], worker["call"]) == (job, 1, 0, "shop-7-start")
    audit = [line["call"] for line in lines(daemon) if line["logger"] == "ladingd.api.trail"]
    assert audit == ["shop-7-create", "shop-7-start", "tidy"]


async def test_what_happens_at_the_end_is_told_too_and_goes_on_for_the_same_call(
    daemon: DaemonProcess, folder: Path
) -> None:
    file = write_people(folder / "people.csv", 20_000)
    async with Client(daemon.address) as client:
        job = await client.create_job(importing(file, chunk_bytes=2_000))
        async with followed(client, job.name) as follower:
            await client.start_job(job.name)
            await follower.sees_records(500)
            daemon.terminate()
            await follower.sees(State.INTERRUPTED)
            assert daemon.wait() == 0
            assert events(daemon)[-3:] == ["DAEMON_STOPPING", "JOB_INTERRUPTED", "DAEMON_STOPPED"]
            daemon.start()
            await follower.sees(State.FINISHED)
    until(lambda: "JOB_FINISHED" in events(daemon), "the line of the end")
    told = events(daemon)
    assert told[told.index("DAEMON_STOPPED") :] == [
        "DAEMON_STOPPED",
        "DAEMON_STARTING",
        "DAEMON_READY",
        "JOB_RESUMED",
        "JOB_RUNNING",
        "JOB_FINISHED",
    ]
    (started,) = [line for line in lines(daemon) if line.get("event") == "JOB_STARTED"]
    runs = [line for line in lines(daemon) if line.get("event") in ("JOB_RUNNING", "JOB_INTERRUPTED", "JOB_FINISHED")]
    assert {line["call"] for line in runs} == {started["call"]}
    assert [line["attempt"] for line in runs] == [1, 1, 2, 2]


async def test_metrics_after_an_import(make_daemon: Callable[..., DaemonProcess]) -> None:
    daemon = make_daemon(workers=1)
    place = with_metrics(daemon)
    daemon.start()
    before = await asyncio.to_thread(scrape, place)
    assert before['lading_jobs{state="FINISHED"}'] == 0
    async with grpc.aio.insecure_channel(daemon.address) as channel:
        stub: Any = JobServiceStub(channel)  # type: ignore[no-untyped-call]
        await run(stub, people(daemon.folder / "people.csv"), "shop-8")
        await stub.CreateJob(pb.CreateJobRequest(job=people(daemon.folder / "more.csv")), timeout=PATIENCE)
        call = stub.WatchJobs(pb.WatchJobsRequest(), timeout=PATIENCE)
        await call.read()
        # Metrics from stored changes are updated a moment later.
        changed = 'lading_job_changes_total{state="FINISHED"}'
        seen = await asyncio.to_thread(
            until, lambda: (seen := scrape(place))[changed] == 1 and seen, "the end of the job is counted"
        )
        assert seen
        call.cancel()
    assert seen['lading_jobs{state="FINISHED"}'] == 1
    assert seen['lading_jobs{state="EDITING"}'] == 1
    assert seen['lading_records_total{outcome="inserted",type="import"}'] == 2
    assert seen['lading_records_total{outcome="rejected",type="import"}'] == 1
    assert seen['lading_rejects_total{severity="error"}'] == 1
    assert seen["lading_source_bytes_total"] == len("id,name\n1,one\n2,two\nthree,three\n")
    assert seen["lading_chunk_seconds_count"] == 1
    assert seen["lading_queue_wait_seconds_count"] == 1
    assert seen["lading_watchers"] == 1
    assert seen['lading_workers{state="idle"}'] == 1
    service = 'method="StartJob",service="lading.v1.JobService"'
    assert seen[f'lading_rpcs_total{{code="OK",{service}}}'] == 1
    assert seen[f"lading_rpc_seconds_count{{{service}}}"] == 1
    assert seen["lading_store_commit_seconds_count"] > 5
    assert seen["lading_store_readable"] == 1
    assert seen["process_open_fds"] > 10
    assert not [name for name in seen if re.search(r"jobs/|people|shop", name)]
    assert daemon.stop() == 0


def test_scrapers_that_stay_do_not_hold_up_the_end(make_daemon: Callable[..., DaemonProcess]) -> None:
    daemon = make_daemon()
    place = with_metrics(daemon)
    daemon.start()
    scrape(place)
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as deaf:
        silent.connect(str(place))
        silent.sendall(b"GET /metr")
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        deaf.connect(str(place))
        deaf.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        daemon.terminate()
        assert daemon.process is not None
        assert daemon.process.wait(5) == 0
    assert not place.exists()
    assert "Traceback" not in daemon.log.read_text()


def test_a_place_for_metrics_that_is_taken_is_said_at_the_start(make_daemon: Callable[..., DaemonProcess]) -> None:
    first, second = make_daemon(), make_daemon()
    place = with_metrics(first)
    second.config.write_text(second.config.read_text() + f'[metrics]\nsocket = "{place}"\n')
    first.start()
    assert second.spawn().wait(PATIENCE) == 1
    assert "cannot serve metrics on" in second.log.read_text().splitlines()[-1]
    assert str(place) in second.log.read_text().splitlines()[-1]
    scrape(place)
    assert first.stop() == 0

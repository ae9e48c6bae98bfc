"""OpenTelemetry: the spans of one job at a collector. Without a setting, nothing of it is loaded."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from lading.v1 import job_pb2, spec_pb2
from lading.v1 import job_service_pb2 as pb
from lading.v1.job_service_pb2_grpc import JobServiceStub
from ladingd.telemetry.traces import configured
from tests.harness.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.harness.daemon import DaemonProcess

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@contextmanager
def collector() -> Iterator[tuple[str, list[Any]]]:
    """A collector's address, and the spans it has received."""
    spans: list[Any] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    spans.extend(scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", spans
        server.shutdown()
        thread.join(PATIENCE)


async def test_a_call_its_job_and_the_chunks_are_one_trace(make_daemon: Callable[..., DaemonProcess]) -> None:
    with collector() as (address, spans):
        daemon = make_daemon(environment={"OTEL_EXPORTER_OTLP_ENDPOINT": address})
        daemon.start()
        file = daemon.folder / "people.csv"
        job = importing_two_chunks(file)
        async with grpc.aio.insecure_channel(daemon.address) as channel:
            stub: Any = JobServiceStub(channel)  # type: ignore[no-untyped-call]
            created = await stub.CreateJob(pb.CreateJobRequest(job=job), timeout=PATIENCE)
            metadata = (("traceparent", f"00-{TRACE}-{PARENT}-01"), ("x-correlation-id", "night-run"))
            await stub.StartJob(pb.StartJobRequest(name=created.name), timeout=PATIENCE, metadata=metadata)
            watch = stub.WatchJobs(pb.WatchJobsRequest(name=created.name), timeout=PATIENCE)
            async for event in watch:
                if event.job.state == job_pb2.STATE_FINISHED:
                    break
            watch.cancel()
        assert daemon.stop() == 0
    ours = [span for span in spans if span.trace_id.hex() == TRACE]
    (call,) = [span for span in ours if span.name == "lading.v1.JobService/StartJob"]
    (attempt,) = [span for span in ours if span.name == "job attempt"]
    chunks = [span for span in ours if span.name == "chunk"]
    assert call.parent_span_id.hex() == PARENT
    assert attempt.parent_span_id == call.span_id
    assert len(chunks) == 2
    assert {span.parent_span_id for span in chunks} == {attempt.span_id}
    assert {
        attribute.value.int_value for span in chunks for attribute in span.attributes if "chunk" in attribute.key
    } == {
        0,
        1,
    }
    facts = {attribute.key: attribute.value.string_value for attribute in attempt.attributes}
    assert (facts["lading.call"], facts["lading.state"]) == ("night-run", "FINISHED")
    assert facts["lading.job"] == created.name.removeprefix("jobs/")


def importing_two_chunks(file: Path) -> job_pb2.Job:
    file.write_text("id,name\n" + "".join(f"{number},person {number}\n" for number in range(100)))
    files, target = [spec_pb2.File(path=str(file).lstrip("/"))], spec_pb2.Table(table="people")
    kind = spec_pb2.ImportSpec(files=files, target=target, chunk_bytes=900)
    return job_pb2.Job(spec=spec_pb2.JobSpec(import_spec=kind))


def test_a_collector_that_is_away_does_not_hold_up_the_end(make_daemon: Callable[..., DaemonProcess]) -> None:
    daemon = make_daemon(environment={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
    daemon.start()
    with grpc.insecure_channel(daemon.address) as channel:
        stub: Any = JobServiceStub(channel)  # type: ignore[no-untyped-call]
        stub.ListJobs(pb.ListJobsRequest(), timeout=PATIENCE)
    daemon.terminate()
    assert daemon.process is not None
    assert daemon.process.wait(5) == 0


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SERVICE_NAME": "x"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_a_place_there_are_none(environment: dict[str, str]) -> None:
    assert configured(environment) is None


def test_nothing_of_it_is_loaded_where_nobody_asked() -> None:
    script = (
        "import sys, ladingd.daemon, ladingd.telemetry.traces; assert ladingd.telemetry.traces.configured({}) is None;"
        "sys.exit(any(name.split('.')[0] in ('opentelemetry', 'prometheus_client') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


def test_packages_that_are_missing_are_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("ladingd.telemetry.traces._installed", lambda package: False)
    assert configured({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}) is None
    assert "lading[otel]" in caplog.text

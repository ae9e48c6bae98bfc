"""OpenTelemetry traces: a call, the attempt of the job that it started, and each piece of work in a worker process.

Traces need the packages (``pip install 'lading[otel]'``) and an endpoint in OpenTelemetry's own environment variables.
Otherwise OpenTelemetry is not loaded.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar

from ladingd.core.origin import Origin, current
from ladingd.core.state import ACTIVE, Event, State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

    from ladingd.core.job import Change

_KEPT = 1_000
"""How many calls and attempts are remembered as parents of later spans."""
_TIMEOUT = 1.0
"""Seconds in which the last spans must be sent at the end."""
_PLACES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")

_log = logging.getLogger(__name__)

K = TypeVar("K")


def configured(environment: Mapping[str, str] = os.environ) -> Traces | None:
    """Traces to the endpoint in the environment; None if the environment names none or turns traces off."""
    off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if off or environment.get("OTEL_TRACES_EXPORTER") == "none" or not any(map(environment.get, _PLACES)):
        return None
    if not all(_installed(package) for package in _PACKAGES):
        _log.warning("no traces: the environment asks for them, but packages are missing: pip install 'lading[otel]'")
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # The environment can override these.
    known = {"service.name": environment.get("OTEL_SERVICE_NAME") or "ladingd", "service.version": version("lading")}
    provider = TracerProvider(resource=Resource.create(known), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Traces(provider)


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False


class Traces:
    """The methods in the past tense are the observers that other packages call, all on the event loop.

    An attempt belongs to the trace of the call that started its job, as long as this daemon lives. After a restart, the
    attempt begins a new trace, which has the correlation id as ``lading.call``.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("ladingd", version("lading"))
        self._calls: OrderedDict[str, Span] = OrderedDict()
        self._attempts: OrderedDict[tuple[str, int | None], Span] = OrderedDict()

    def begun(self, method: str) -> Callable[[str], None]:
        """A call begins. Call the returned function with the outcome of the call."""
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        origin = current()
        parent = TraceContextTextMapPropagator().extract({"traceparent": origin.trace})
        service, _, name = method.removeprefix("/").partition("/")
        facts = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name, "lading.call": origin.call}
        span = self._tracer.start_span(f"{service}/{name}", parent, SpanKind.SERVER, facts)
        _remember(self._calls, origin.call, span)

        def over(code: str) -> None:
            span.set_attribute("rpc.grpc.status", code)
            if code in ("INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED"):
                span.set_status(Status(StatusCode.ERROR, code))
            span.end()

        return over

    def changed(self, change: Change) -> None:
        """A job began an attempt or came to rest."""
        from opentelemetry.trace import Status, StatusCode

        job = change.job
        if change.cause is Event.SLOT_FREE:
            self._attempt(Origin(call=job.correlation, job=job.id, attempt=job.attempt), _nanoseconds(change.time))
        span = self._attempts.get((job.id, job.attempt))
        if span is not None and job.state not in ACTIVE and span.is_recording():
            span.set_attribute("lading.state", job.state)
            if job.state is State.FAILED and job.failure is not None:
                span.set_status(Status(StatusCode.ERROR, job.failure.code))
            span.end(_nanoseconds(change.time))

    def worked(self, function: str, seconds: float) -> None:
        """A worker process finished a call."""
        origin = current()
        if not origin.call and not origin.job:
            return  # A warm-up, or the daemon's own clean-up.
        end = time.time_ns()
        begin = end - int(seconds * 1e9)
        parent = self._attempt(origin, begin) if origin.job else self._calls.get(origin.call)
        name = "chunk" if origin.chunk is not None else function
        span = self._tracer.start_span(name, _below(parent), attributes=_facts(origin), start_time=begin)
        span.end(end)

    async def close(self) -> None:
        """Send the remaining spans, but only for a moment: their receiver may be unreachable."""
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def send() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # The loop is already closed.
                loop.call_soon_threadsafe(sent.set)

        threading.Thread(target=send, name="traces", daemon=True).start()
        try:
            async with asyncio.timeout(_TIMEOUT):
                await sent.wait()
        except TimeoutError:
            _log.warning("the last traces are lost: they were not sent within %g s", _TIMEOUT)

    def _attempt(self, origin: Origin, begin: int) -> Span:
        """The span of an attempt. It is created if missing: a worker may answer before the job's change arrives."""
        key = (origin.job, origin.attempt)
        span = self._attempts.get(key)
        if span is None:
            facts = _facts(Origin(call=origin.call, job=origin.job, attempt=origin.attempt))
            call = self._calls.get(origin.call)
            span = self._tracer.start_span("job attempt", _below(call), attributes=facts, start_time=begin)
            _remember(self._attempts, key, span)
        return span


def _below(parent: Span | None) -> Context | None:
    from opentelemetry.context import Context
    from opentelemetry.trace import set_span_in_context

    # The context of the running task is not used: it does not hold our spans.
    return Context() if parent is None else set_span_in_context(parent, Context())


def _nanoseconds(time: datetime) -> int:
    return int(time.timestamp() * 1_000_000) * 1_000


def _facts(origin: Origin) -> dict[str, str | int]:
    return {f"lading.{name}": value for name, value in origin.facts.items()}


def _remember(spans: OrderedDict[K, Span], key: K, span: Span) -> None:
    spans[key] = span
    if len(spans) > _KEPT:
        spans.popitem(last=False)

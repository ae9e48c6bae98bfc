"""Identifies callers and checks their rights. Runs between the guard and the handlers."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from lading.v1 import file_service_pb2, table_service_pb2
from lading.v1 import job_service_pb2 as pb
from lading.v1.spec_pb2 import JobSpec
from ladingd.api.caller import Caller, caller
from ladingd.api.messages.job import job_name
from ladingd.api.messages.request import fields_to_edit, upload_id_in
from ladingd.api.methods import EDITS, METHODS, Method
from ladingd.api.permits import DEFAULT
from ladingd.api.rpc_handler import Context, behaviour_of, run_to_end, with_behaviour, within
from ladingd.api.status import CODES
from ladingd.api.trail import REFUSED
from ladingd.config.certificates import validity
from ladingd.core.access import Act, Deed, Principal, recognise, token_id
from ladingd.core.clock import utc_now
from ladingd.core.deadline import seconds_to_answer
from ladingd.core.errors import DiskFull, PermissionDenied, StoreBusy, Unauthenticated
from ladingd.core.origin import Effect, effect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Set
    from datetime import datetime

    from ladingd.api.permits import Permits
    from ladingd.api.rpc_handler import Handler
    from ladingd.api.trail import Trail
    from ladingd.core.ports import TokenStore

    Req = TypeVar("Req")
    Res = TypeVar("Res")

_MAX_RESOURCE = 200
_ENTRY_TIMEOUT = 5.0
"""Seconds that writing an audit entry may take, even if the caller has less time left."""

_CUT_OFF = frozenset({"CANCELLED", "DEADLINE_EXCEEDED"})


@dataclass(kw_only=True, slots=True)
class _Call:
    """A call, and what is known so far about its caller."""

    method: str
    rule: Method | None
    request: Any
    context: Context
    principal: str = ""
    role: str = ""
    token_id: str = ""
    admitted: Principal | None = None
    effect: Effect = field(default_factory=Effect)


class Access(grpc.aio.ServerInterceptor):
    """Lets permitted callers through. Records changes and refused calls in the audit trail.

    ``local`` is the principal of calls on the Unix socket without a token; None: they need a token. ``clients`` are the
    principals of certificates, by common name; TLS has verified the certificate.
    """

    def __init__(
        self,
        *,
        tokens: TokenStore,
        permits: Permits,
        trail: Trail,
        local: Principal | None,
        clients: Mapping[str, Principal] = MappingProxyType({}),
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._tokens = tokens
        self._permits = permits
        self._trail = trail
        self._local = local
        self._clients = clients
        self._clock = clock
        self._streams: dict[asyncio.Task[Any], _Call] = {}
        self._ended: set[asyncio.Task[Any]] = set()

    def admit(self, *, local: Principal | None, clients: Mapping[str, Principal]) -> None:
        """Replace the principals of the socket and of certificates from the next call on; ``recheck`` ends open
        streams."""
        self._local = local
        self._clients = clients

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Req, Res] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Req, Res] | None:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method.removeprefix("/")
        rule = METHODS.get(method)
        if handler is None or (rule is not None and rule.is_open):
            return handler
        return self._controlled(handler, method)

    def _controlled(self, handler: Handler, method: str) -> Handler:
        behaviour = behaviour_of(handler)

        async def controlled(request: Any, context: Context) -> Any:
            call = _Call(method=method, rule=METHODS.get(method), request=request, context=context)
            effect.set(call.effect)
            try:
                await self._admit(call)
                with self._kept_in_sight(call, handler):
                    answer = await run_to_end(behaviour(request, context), context)
            except asyncio.CancelledError:
                # Nobody waits for the answer any more. The audit entry is written nevertheless.
                self._noted(call, "CANCELLED")
                raise
            except Exception as error:
                writing = self._noted(call, _outcome(error), reason=_reason(error))
                # The store takes no writes now, so nothing was changed. The entry is written later.
                if writing is not None and not isinstance(error, StoreBusy | DiskFull):
                    await _durable(writing)
                raise
            if writing := self._noted(call, "OK", answer=answer):
                await _durable(writing)
            return answer

        return with_behaviour(handler, controlled)

    async def recheck(self) -> None:
        """End the streams of callers whose token is no longer in force or whose rights a reload has changed. Other
        calls end soon by themselves."""
        shown = {call.token_id for call in self._streams.values() if call.token_id}
        tokens = {token_id: await self._tokens.get(token_id) for token_id in shown}
        for task, call in list(self._streams.items()):
            token = tokens.get(call.token_id)
            in_force = token is not None and token.in_force(self._clock())
            if not (in_force if call.token_id else self._is_still(call)) and task not in self._ended:
                self._ended.add(task)
                task.cancel()

    def _is_still(self, call: _Call) -> bool:
        try:
            return self._by_transport(call.context) == call.admitted
        except Unauthenticated:
            return False

    @contextmanager
    def _kept_in_sight(self, call: _Call, handler: Handler) -> Iterator[None]:
        """Turns a cancellation by ``recheck`` into Unauthenticated."""
        task = asyncio.current_task()
        if task is None or not (handler.request_streaming or handler.response_streaming):
            yield
            return
        self._streams[task] = call
        try:
            yield
        except asyncio.CancelledError:
            if task in self._ended and task.uncancel() == 0:
                if call.token_id:
                    raise Unauthenticated(f"the token {call.principal} is no longer valid") from None
                self._check_certificate(call.principal, call.context)
                raise Unauthenticated(f"the rights of {call.principal} were changed: call again") from None
            raise
        finally:
            del self._streams[task]
            self._ended.discard(task)

    async def _admit(self, call: _Call) -> None:
        """Raises Unauthenticated, PermissionDenied, and InvalidRequest if the request cannot be understood."""
        principal = await self._identify(call)
        if call.rule is None or call.rule.right is None:
            raise PermissionDenied(principal.role, "a method that is open to somebody")
        principal.require(call.rule.right)
        await self._permit(principal, call.request)
        call.admitted = principal
        caller.set(Caller(principal=principal, acts=_acts(call.rule, call.request)))

    async def _identify(self, call: _Call) -> Principal:
        """The principal that calls. Raises Unauthenticated."""
        text = _bearer(call.context.invocation_metadata() or ())
        if text is None:
            principal = self._by_transport(call.context)
            call.principal, call.role = principal.name, principal.role
            return principal
        token = await self._tokens.get(token_id(text))
        if token is not None and token.matches(text):
            call.principal, call.role = token.name, token.role
        call.token_id = token_id(text)
        return recognise(text, token, self._clock())

    def _by_transport(self, context: Context) -> Principal:
        if context.peer().startswith("unix:"):
            if self._local is not None:
                return self._local
        else:
            names = context.auth_context().get("x509_common_name", ())
            known = [self._clients[name] for name in (_text(name) for name in names) if name in self._clients]
            if known:
                self._check_certificate(known[0].name, context)
                return known[0]
            if names:
                raise Unauthenticated("the certificate's common name is not among the clients of the configuration")
        raise Unauthenticated("a token is needed, as in `authorization: Bearer lading_…`")

    def _check_certificate(self, name: str, context: Context) -> None:
        """Raises Unauthenticated if the caller's certificate has expired. TLS checks it only when a connection is made,
        and connections last for days."""
        for certificate in context.auth_context().get("x509_pem_cert", ()):
            if self._clock() >= (end := _end_of(certificate)):
                raise Unauthenticated(
                    f"the certificate of {name} expired on {end:%Y-%m-%d %H:%M} UTC: connect with a new one"
                )

    async def _permit(self, principal: Principal, request: Any) -> None:
        """Check what the request names. Raises PermissionDenied. ``Control.clone`` checks the job that is cloned."""
        match request:
            case pb.CreateJobRequest():
                await self._permits.spec(principal, request.job.spec, asks_only=request.validate_only)
            case pb.UpdateJobRequest() if "spec" in fields_to_edit(request):
                await self._permits.spec(principal, request.job.spec, asks_only=request.validate_only)
            case table_service_pb2.ListTablesRequest():
                principal.require_connection(request.connection or DEFAULT)
            case table_service_pb2.GetTableRequest():
                principal.require_connection(request.table.connection or DEFAULT)
            case pb.PreviewImportRequest() | table_service_pb2.SuggestMappingRequest():
                await self._permits.spec(principal, JobSpec(import_spec=request.spec), asks_only=True)
            case file_service_pb2.GetUploadRequest() | file_service_pb2.DeleteUploadRequest():
                await self._permits.upload(principal, upload_id_in(request.name))
            case file_service_pb2.DownloadFileRequest():
                await self._permits.file(principal, request.file)

    def _noted(self, call: _Call, outcome: str, *, answer: Any = None, reason: str = "") -> Awaitable[None] | None:
        """Note the call in the audit trail; await the result to know that it is written. None if there is nothing to
        note."""
        changes = call.rule is not None and call.rule.changes and not getattr(call.request, "validate_only", False)
        if not changes and outcome not in REFUSED and not (outcome == "NOT_FOUND" and _may_be_hidden(call)):
            return None
        if outcome in _CUT_OFF and _name_of(call.effect):
            outcome = "OK"  # The change is done, although the caller does not know it.
        deed = Deed(
            time=self._clock(),
            principal=call.principal,
            role=call.role,
            peer=call.context.peer(),
            method=call.method,
            resource=(_name_of(call.effect) or _name_in(answer) or _name_in(call.request))[:_MAX_RESOURCE],
            outcome=outcome,
        )
        return self._trail.note(deed, reason)


@lru_cache(maxsize=1_000)
def _end_of(certificate: bytes) -> datetime:
    """When a certificate (PEM) expires. TLS has accepted it."""
    return validity(ssl.PEM_cert_to_DER_cert(certificate.decode("ascii")))[1]


async def _durable(writing: Awaitable[None]) -> None:
    """Wait until an entry is written. Raises DeadlineExceeded; the caller's change may be done by then."""
    await within(max(seconds_to_answer() or 0.0, _ENTRY_TIMEOUT), writing)


def _acts(rule: Method, request: Any) -> Set[Act]:
    """The acts of a call on its job. For an edit, the edited fields decide; every edit includes SEE."""
    if isinstance(request, pb.UpdateJobRequest):
        return frozenset({Act.SEE, *(EDITS[field] for field in fields_to_edit(request))})
    return rule.acts


def _may_be_hidden(call: _Call) -> bool:
    """Whether the job may exist but be hidden from this caller. The trail records such a refusal, and also every
    NOT_FOUND that looks like one: otherwise the answer time would tell them apart."""
    return bool(call.rule and call.rule.acts and call.admitted and not call.admitted.sees_all)


def _outcome(error: Exception) -> str:
    """The name of the gRPC status code that the caller gets."""
    if isinstance(error, grpc.aio.BaseError):
        return "CANCELLED"  # The connection is gone.
    return CODES.get(type(error), grpc.StatusCode.INTERNAL).name  # type: ignore[arg-type]


def _reason(error: Exception) -> str:
    return error.message if isinstance(error, Unauthenticated | PermissionDenied) else ""


def _bearer(metadata: Iterable[tuple[str, str | bytes]]) -> str | None:
    """The bearer token of a call. Raises Unauthenticated for another scheme or for several tokens."""
    shown = [value for key, value in metadata if key == "authorization"]
    if not shown:
        return None
    scheme, _, token = _text(shown[0]).partition(" ")
    if len(shown) > 1 or scheme.lower() != "bearer":
        raise Unauthenticated("`authorization` must be one `Bearer` with a token")
    return token.strip()


def _name_in(message: Any) -> str:
    """The resource that a request or an answer names; empty if it names none."""
    for known in ("name", "parent"):
        if isinstance(name := getattr(message, known, None), str) and name:
            return name
    if (job := getattr(message, "job", None)) is not None and job.name:
        return str(job.name)
    if job_id := getattr(message, "job_id", ""):
        return f"jobs/{job_id}"
    if isinstance(message, file_service_pb2.DownloadFileRequest):
        return f"{message.file.root or DEFAULT}:{message.file.path}"
    return ""


def _name_of(effect: Effect) -> str:
    return job_name(effect.job.id) if effect.job is not None else effect.upload


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

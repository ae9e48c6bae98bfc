"""The public names of the library: they exist, and no generated class is among them."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest

import lading_client
from lading.v1 import audit_service_pb2, job_pb2
from lading_client import model
from lading_client.messages import job as wire
from lading_client.spec import ExportSpec, File, ImportSpec, Table
from tests.unit.client.fake_service import NOW, FakeService

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from lading_client.client import Client

INTERNAL = ("messages", "transport", "files", "labels", "cli")
"""Modules that handle messages and calls. Users of the library do not import them."""
GENERATED = ("lading.", "google.", "grpc")


def public_modules() -> list[ModuleType]:
    names = [info.name for info in pkgutil.iter_modules(lading_client.__path__)]
    kept = [name for name in names if not name.startswith("_") and name not in INTERNAL]
    return [lading_client, *(importlib.import_module(f"lading_client.{name}") for name in kept)]


def origins(module: ModuleType) -> dict[str, str]:
    """The origin of each name that a module imports, also under TYPE_CHECKING."""
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {(alias.asname or alias.name).split(".")[0]: alias.name for alias in node.names}
    return found


def declared(thing: object) -> Iterator[Any]:
    """All annotations of a public class or function and of its public members."""
    if inspect.isclass(thing):
        yield from getattr(thing, "__annotations__", {}).values()
        for base in thing.__bases__:
            yield base.__module__ + "." + base.__name__
        for name, member in vars(thing).items():
            if name in ("__init__", "__aenter__", "__aiter__") or not name.startswith("_"):
                inner = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
                yield from declared(inner) if inspect.isfunction(inner) else ()
    elif inspect.isfunction(thing):
        yield from thing.__annotations__.values()


def dotted_names(annotation: Any, imported: dict[str, str]) -> Iterator[str]:
    """The full names in an annotation."""
    for node in ast.walk(ast.parse(str(annotation), mode="eval")):
        if isinstance(node, ast.Attribute | ast.Name):
            first, *rest = ast.unparse(node).split(".")
            yield ".".join((imported.get(first, first), *rest))


def test_everything_that_is_promised_is_there() -> None:
    missing = [name for name in lading_client.__all__ if not hasattr(lading_client, name)]
    assert missing == []
    assert lading_client.__all__ == sorted(lading_client.__all__, key=lambda n: (not n.isupper(), n))
    with pytest.raises(AttributeError, match="nothing"):
        _ = lading_client.nothing


def test_every_error_is_promised() -> None:
    names = {name for name, value in vars(lading_client.errors).items() if inspect.isclass(value)}
    of_others = {"OwnDaemonError", "UnsafeDirectory", "StateUnusable", "DaemonUnreachable"}
    of_others |= {"DaemonNotStarted", "DaemonNotStopped"}
    ours = {name for name in names if getattr(lading_client.errors, name).__module__ == "lading_client.errors"}
    assert ours - of_others <= set(lading_client.__all__)


def test_the_walk_finds_generated_classes_where_they_are() -> None:
    found = {part for thing in vars(wire).values() for a in declared(thing) for part in dotted_names(a, origins(wire))}
    assert "lading.v1.job_pb2.Job" in found


def public_things() -> Iterator[Any]:
    """The exports of the package, and the definitions of its public modules."""
    for name in lading_client.__all__:
        # Authors of transports handle messages.
        if name != "Transport":
            yield getattr(lading_client, name)
    for module in public_modules():
        for name, thing in vars(module).items():
            if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__:
                yield thing


def test_no_signature_and_no_field_names_a_generated_class() -> None:
    looked_at = 0
    for thing in public_things():
        if not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        imported = origins(importlib.import_module(thing.__module__))
        for annotation in declared(thing):
            looked_at += 1
            wrong = [part for part in dotted_names(annotation, imported) if part.startswith(GENERATED)]
            assert not wrong, f"{thing.__module__}.{thing.__qualname__}: {annotation}"
    assert looked_at > 200


def walk(value: object, path: str) -> Iterator[tuple[str, object]]:
    """A value and everything in it."""
    yield path, value
    if is_dataclass(value):
        for field in fields(value):
            yield from walk(getattr(value, field.name), f"{path}.{field.name}")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from walk(key, f"{path} key")
            yield from walk(item, f"{path}[{key!r}]")
    elif isinstance(value, tuple | list | set | frozenset):
        for item in value:
            yield from walk(item, f"{path}[]")


async def test_no_answer_holds_a_generated_class(client: Client, service: FakeService) -> None:
    full = service.put("full", label="l", description="d", state=job_pb2.STATE_FAILED, uid="u")
    full.failure.code = "TARGET_REFUSED"
    full.progress.time_left.seconds = 3
    full.duration.seconds = 3
    full.counters.total = 3
    full.start_time.FromDatetime(NOW)
    full.spec.import_spec.types["a"] = "date"
    service.change(full)
    service.journal = [job_pb2.JournalEntry(sequence=1)]
    service.rejects = [job_pb2.Reject(line=1)]
    service.audit = [audit_service_pb2.AuditEntry(sequence=1)]
    imported = ImportSpec(files=(File(path="a"),), target=Table(table="t"), types={"x": "date"})
    answers: dict[str, object] = {
        "get_job": await client.get_job("jobs/full"),
        "create_job": await client.create_job(imported),
        "create_job of an export": await client.create_job(ExportSpec(table=Table(table="t"), file=File(path="a"))),
        "preview_import": await client.preview_import(imported),
        "suggest_mapping": await client.suggest_mapping(imported),
        "tables": [table async for table in client.tables()],
        "table": await client.table(Table(table="t")),
        "clone_job": await client.clone_job("jobs/full"),
        "update_job": await client.update_job("jobs/full", label="new"),
        "pause_job": await client.pause_job("jobs/full"),
        "cancel_job": await client.cancel_job("jobs/full"),
        "start_job": await client.start_job("jobs/full"),
        "list_jobs": [job async for job in client.list_jobs()],
        "journal": [entry async for entry in client.journal("jobs/full")],
        "watch_journal": [entry async for entry in client.watch_journal("jobs/full")],
        "reject_groups": await client.reject_groups("jobs/full"),
        "rejects": [reject async for reject in client.rejects("jobs/full")],
        "watch_rejects": [event async for event in client.watch_rejects("jobs/full")],
        "audit": [entry async for entry in client.audit()],
        "watch": await anext(client.watch()),
    }
    async with client.run(imported) as run:
        answers["run"] = [event async for event in run]
    answers["run.job"] = run.job
    elsewhere = {"delete_job", "upload", "download", "delete_upload"}
    methods = {name for name, value in vars(type(client)).items() if inspect.isfunction(value)}
    asked = {name.partition(" ")[0].partition(".")[0] for name in answers}
    assert {name for name in methods if not name.startswith("_")} - elsewhere - {"close"} == asked
    kinds = set()
    for method, answer in answers.items():
        assert answer != []
        for path, value in walk(answer, method):
            kinds.add(type(value))
            if not isinstance(value, Enum):
                assert type(value).__module__.startswith(("lading_client.", "builtins", "datetime")), path
    assert {model.Job, model.WatchEvent, model.Reject, model.AuditEntry, ImportSpec, ExportSpec} <= kinds

"""Models as JSON, as in proto3: camelCase keys, RFC 3339 times, durations like "1.5s".

Unlike in proto3, numbers of any size are JSON numbers, and enum values have no prefix. Absent values are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from lading_client.errors import BadSpec
from lading_client.spec import ExportSpec, ImportSpec, JobSpec


def as_json(value: Any) -> Any:
    """A model, or a value in it, as `json.dumps` accepts it."""
    if isinstance(value, JobSpec):
        kind = "importSpec" if isinstance(value.kind, ImportSpec) else "exportSpec"
        return {kind: as_json(value.kind), "onRestart": value.on_restart.value}
    if is_dataclass(value):
        left_out = _unused_formats(value) if isinstance(value, ImportSpec | ExportSpec) else frozenset()
        named = ((field.name, getattr(value, field.name)) for field in fields(value) if field.name not in left_out)
        return {_camel(name): as_json(content) for name, content in named if content is not None}
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return f"{value.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"
    if isinstance(value, Mapping):
        return {key: as_json(content) for key, content in value.items()}
    if isinstance(value, tuple | list):
        return [as_json(item) for item in value]
    return value


def _unused_formats(spec: ImportSpec | ExportSpec) -> frozenset[str]:
    """The formats whose options a spec does not set. A message has the options of one format; without any, of CSV."""
    formats = {field.name: field.default for field in fields(spec) if is_dataclass(field.default)}
    used = [name for name, default in formats.items() if getattr(spec, name) != default] or ["csv"]
    return frozenset(formats.keys() - {used[-1]})


def spec_from_json(document: Mapping[str, Any]) -> JobSpec:
    """A spec from proto3 JSON of `lading.v1.JobSpec`; enum values may come without their prefix. Raises BadSpec."""
    # Slow to import, and only one command needs it.
    from google.protobuf import json_format

    from lading.v1 import spec_pb2
    from lading_client.messages.spec import spec_from

    message = spec_pb2.JobSpec()
    try:
        json_format.ParseDict(_with_prefixes(document), message)
    except json_format.ParseError as error:
        raise BadSpec(f"the spec is not a valid lading.v1.JobSpec: {error}") from error
    return spec_from(message)


_PREFIXES = {
    "onRestart": "ON_RESTART_",
    "on_restart": "ON_RESTART_",
    "header": "HEADER_",
    "ragged": "RAGGED_",
    "create": "CREATE_TABLE_",
    "names": "COLUMN_NAMES_",
    "operation": "OPERATION_",
    "doubles": "DOUBLES_",
    "duplicates": "DUPLICATES_",
}
_FREE_TEXT = frozenset({"types", "variables", "enumerations"})
"""Keys whose content is the user's own words: a column may be called `header`."""


def _with_prefixes(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            key: content if key in _FREE_TEXT else _prefixed(key, _with_prefixes(content))
            for key, content in value.items()
        }
    if isinstance(value, list):
        return [_with_prefixes(item) for item in value]
    return value


def _prefixed(key: str, value: Any) -> Any:
    prefix = _PREFIXES.get(key)
    if prefix is None or not isinstance(value, str) or value.startswith(prefix):
        return value
    return prefix + value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)

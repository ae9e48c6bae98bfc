"""Converts dataclasses of the domain to JSON and back."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Annotated, Any

from pydantic import Discriminator, TypeAdapter

from ladingd.core.bill import Counts
from ladingd.core.job import Failure, Job, Progress
from ladingd.core.plan import ExportPlan, ImportPlan
from ladingd.core.spec import ExportSpec, ImportSpec

SPEC: TypeAdapter[ImportSpec | ExportSpec] = TypeAdapter(Annotated[ImportSpec | ExportSpec, Discriminator("kind")])
PLAN: TypeAdapter[ImportPlan | ExportPlan] = TypeAdapter(Annotated[ImportPlan | ExportPlan, Discriminator("kind")])
COUNTS: TypeAdapter[Counts] = TypeAdapter(Counts)
PROGRESS: TypeAdapter[Progress] = TypeAdapter(Progress)
FAILURE: TypeAdapter[Failure] = TypeAdapter(Failure)
JOB: TypeAdapter[Job] = TypeAdapter(Job)
NAMES: TypeAdapter[tuple[str, ...]] = TypeAdapter(tuple[str, ...])


_LONG = 64 << 10
"""The length of a text that is kept for the next reading."""


def write(adapter: TypeAdapter[Any], value: object) -> str:
    """The JSON text of a value. Raises ValueError for NaN and infinities, which could not be read again."""
    # dump_json would write NaN as null, and the job could never be read again.
    tree = adapter.dump_python(value, mode="json")
    return json.dumps(tree, allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def read(adapter: TypeAdapter[Any], text: str) -> Any:
    """The value of a JSON text."""
    return adapter.validate_json(text) if len(text) < _LONG else _read_long(adapter, text)


@lru_cache(maxsize=4)
def _read_long(adapter: TypeAdapter[Any], text: str) -> Any:
    """A running job is read again and again, and the plan of a thousand files takes 10 ms."""
    return adapter.validate_json(text)

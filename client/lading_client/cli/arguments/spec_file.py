"""A job in a file: JSON or TOML with the field names of `lading.v1.JobSpec`, plus a label and a description."""

from __future__ import annotations

import json
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lading_client.errors import BadSpec
from lading_client.json_format import spec_from_json
from lading_client.spec import JobSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class SpecFile:
    """The content of the file."""

    spec: JobSpec
    label: str
    description: str


def read(path: str) -> SpecFile:
    """The job in the file; `-` is JSON from standard input. Raises BadSpec."""
    where = "standard input" if path == "-" else path
    document = _document(path, where)
    if not isinstance(document, dict):
        raise BadSpec(f"{where} does not hold a job spec: write an object with importSpec or exportSpec")
    texts = {key: document.pop(key, "") for key in ("label", "description")}
    for key, text in texts.items():
        if not isinstance(text, str):
            raise BadSpec(f"{where}: {key} is not text")
    return SpecFile(spec=spec_from_json(document), **texts)


def _document(path: str, where: str) -> Any:
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise BadSpec(f"{where} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadSpec(f"{where} is not UTF-8 text: {error}") from error
    try:
        return tomllib.loads(text) if path.endswith(".toml") else json.loads(text)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        language = "TOML" if path.endswith(".toml") else "JSON (TOML is read from a file that ends in .toml)"
        raise BadSpec(f"{where} is not {language}: {error}") from error

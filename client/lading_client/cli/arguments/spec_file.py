"""A job in a file: JSON or TOML with the field names of `lading.v1.JobSpec`, plus a label and a description.

A path without a root is relative to the file; on standard input, to the working directory.
"""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
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
    paths: Mapping[int, str]
    """The absolute path of each file of the spec that has no root, by its place."""


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
    folder = os.getcwd() if path == "-" else os.path.dirname(os.path.abspath(path))
    paths = {place: os.path.join(folder, name) for place, name in _without_root(document)}
    return SpecFile(spec=spec_from_json(document), paths=paths, **texts)


def _without_root(document: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """The files without a root: their places in the spec, and their paths."""
    kinds = [document.get(name) for name in ("importSpec", "import_spec", "exportSpec", "export_spec")]
    files = [kind.get("files") or [kind.get("file")] for kind in kinds if isinstance(kind, dict)]
    for place, file in enumerate(files[0] if files and isinstance(files[0], list) else ()):
        if isinstance(file, dict) and not file.get("root") and isinstance(file.get("path"), str) and file["path"]:
            yield place, file["path"]


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

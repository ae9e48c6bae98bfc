"""Reads a configuration and finds all errors in it. The daemon, the reload and the check all use it."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from ladingd.config.finding import ConfigError, Finding, Place, Severity, in_order
from ladingd.config.keys import NAME, known_key, suggestion, variable
from ladingd.config.lines import lines_of
from ladingd.config.settings import DELIMITER, PREFIX, Settings, config_file, defaults

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from pydantic_core import ErrorDetails

_AT = re.compile(r"\(at line (\d+), column \d+\)")
_FIELD = re.compile(r'field "(\w+)"')


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where values come from."""

    file: Path
    lines: Mapping[tuple[str, ...], int] = field(default_factory=dict)

    def place(self, path: Sequence[str]) -> Place:
        """Where the value of a key is set, or where the table that lacks the key begins."""
        variables = {name.upper(): name for name in os.environ}
        lengths = range(len(path), 0, -1)
        for length in lengths:
            name = variables.get(variable(path[:length]))
            if name and _says(os.environ[name], path[length:]):
                return Place(file=self.file, variable=name)
        for length in lengths:
            if line := self.lines.get(tuple(path[:length])):
                return Place(file=self.file, line=line)
        return Place(file=self.file)

    def finding(self, severity: Severity, path: Sequence[str], message: str) -> Finding:
        """A finding about a key."""
        return Finding(severity=severity, place=self.place(path), key=".".join(path), message=message)


def _says(value: str, path: Sequence[str]) -> bool:
    """Whether a variable sets a key: by the key's own variable, or in a table written as JSON."""
    if not path:
        return True
    try:
        content = json.loads(value)
    except ValueError:
        return True  # The value is not JSON: it is wrong for every key.
    for name in path:
        if not isinstance(content, dict) or name not in content:
            return False
        content = content[name]
    return True


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """The result of reading. ``settings`` is None if there are errors."""

    source: Source
    settings: Settings | None
    findings: tuple[Finding, ...]


def load(config: Path | None, *, user: bool) -> Settings:
    """The settings of the system's daemon or of the user's own. The files that they name need not exist.

    Raises ConfigError.
    """
    reading = read(config, user=user)
    if reading.settings is None:
        raise ConfigError([finding for finding in reading.findings if finding.severity is Severity.ERROR])
    return reading.settings


def read(config: Path | None, *, user: bool) -> Loaded:
    """Read the file and the environment and check the form of their values."""
    source, values, findings = _read_file(config, user=user)
    # pydantic-settings would take these as its own arguments instead of refusing them as unknown keys.
    findings += tuple(source.finding(Severity.ERROR, [key], "unknown key") for key in values if key[:1] == "_")
    if findings:
        return Loaded(source=source, settings=None, findings=findings)
    settings = None
    try:
        settings = Settings(**_merged(defaults(user=user), values))
    except ValidationError as error:
        findings = tuple(_wrong(source, one) for one in error.errors())
    except SettingsError as error:
        findings = (_no_json(source, error),)
    secrets = {connection.password_env for connection in settings.connections.values()} if settings else set()
    findings = (*findings, *_unheard_variables(source, secrets))
    return Loaded(source=source, settings=settings, findings=in_order(findings))


def _read_file(config: Path | None, *, user: bool) -> tuple[Source, dict[str, Any], tuple[Finding, ...]]:
    file = config_file(config, user=user)
    nowhere = Source(file=file)
    try:
        text = file.read_bytes().decode("utf-8-sig")
        values = tomllib.loads(text)
    except FileNotFoundError:
        if config is None:
            return nowhere, {}, ()
        message = "the file does not exist; to create one: ladingd config init --output FILE"
        return nowhere, {}, (_about_file(file, message),)
    except OSError as error:
        return nowhere, {}, (_about_file(file, f"cannot be read: {error.strerror}"),)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        return nowhere, {}, (_about_file(file, "this line is not UTF-8, as TOML requires", line),)
    except tomllib.TOMLDecodeError as error:
        at = _AT.search(str(error))
        line = int(at[1]) if at else text.count("\n") + 1
        message = (
            f"not TOML: {_AT.sub('', str(error)).strip()}; write text in quotes, a list in [ ], a table's name in [ ]"
        )
        return nowhere, {}, (_about_file(file, message, line),)
    return Source(file=file, lines=lines_of(text)), values, ()


def _about_file(file: Path, message: str, line: int | None = None) -> Finding:
    return Finding(severity=Severity.ERROR, place=Place(file=file, line=line), key="", message=message)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = {key for key in base.keys() & over.keys() if isinstance(base[key], dict) and isinstance(over[key], dict)}
    return {**base, **over, **{key: _merged(base[key], over[key]) for key in both}}


def _wrong(source: Source, error: ErrorDetails) -> Finding:
    path = [part for part in error["loc"] if isinstance(part, str) and part != "[key]"]
    message = _in_words(error, path)
    if error["type"] in ("model_type", "dict_type"):
        message = _table_wanted(path, source.place(path))
    if error["type"] != "extra_forbidden" and len(path) > 1 and path[-1] in Settings.model_fields:
        message = f"{message}; {suggestion(path)}"
    return source.finding(Severity.ERROR, path, message)


def _in_words(error: ErrorDetails, path: Sequence[str]) -> str:
    """What is wrong, and what is allowed. It never shows the value, which may be a secret."""
    limits = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return f"unknown key; {suggestion(path)}"
        case "missing":
            return f"is missing{_for_example(path)}"
        case "string_pattern_mismatch" if error["loc"][-1] == "[key]":
            return "a name consists of a-z, 0-9, _ and -, and begins with a letter or digit"
        case "string_pattern_mismatch":
            return f"has the wrong form{_for_example(path)}"
        case "greater_than_equal":
            return f"must be at least {limits['ge']}"
        case "greater_than":
            return f"must be more than {limits['gt']}"
        case "literal_error" | "enum":
            return f"must be {limits['expected']}"
        case "int_parsing" | "int_type" | "int_from_float":
            return "must be a whole number"
        case "float_parsing" | "float_type":
            return "must be a number"
        case "path_type" | "string_type":
            return "must be text, in quotes"
        case "string_too_short":
            return "must not be empty"
        case "string_too_long":
            return f"must have at most {limits['max_length']} characters"
        case "frozen_set_type":
            return 'must be a list, as in ["one", "two"]'
    return error["msg"].removeprefix("Value error, ")


def _for_example(path: Sequence[str]) -> str:
    key = known_key(path)
    examples = key.field.examples if key else None
    return f', as in {path[-1]} = "{examples[0]}"' if examples else ""


def _table_wanted(path: Sequence[str], place: Place) -> str:
    if place.variable:
        return (
            "a table in one variable must be JSON; a variable for one key of the table is named "
            f"{variable([*path, NAME])}"
        )
    return f"is a table: write its keys beneath [{'.'.join(path)}]"


def _no_json(source: Source, error: SettingsError) -> Finding:
    named = _FIELD.search(str(error))
    path = [named[1]] if named else []
    return source.finding(Severity.ERROR, path, _table_wanted(path, source.place(path)))


def _unheard_variables(source: Source, secrets: Container[str]) -> Iterator[Finding]:
    """Variables with our prefix and no meaning. A variable that holds a password may have any name."""
    for name in sorted(os.environ):
        if not name.upper().startswith(PREFIX) or name in secrets:
            continue
        path = name[len(PREFIX) :].lower().split(DELIMITER)
        value = known_key(path[:1])
        if path[0] not in Settings.model_fields or (len(path) > 1 and value is not None and not value.is_table):
            message = f"unknown key, which is ignored; {suggestion(path)}"
            place = Place(file=source.file, variable=name)
            yield Finding(severity=Severity.WARNING, place=place, key="", message=message)

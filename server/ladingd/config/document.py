"""The file that explains each key, generated from the classes of the settings."""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt

from ladingd.config.change import is_live
from ladingd.config.keys import NAME, Key, all_keys, variable
from ladingd.config.settings import defaults

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WIDTH = 100

_HEAD = """\
The configuration of ladingd, the daemon of Lading. A line that begins with # and a key shows the key's default, or an
example if it has no default. To set the key, remove the # there and before the [table] above it. The environment
variable beside a key also sets it and overrides this file. After a change: `ladingd config check`, and then
`systemctl reload ladingd`, or SIGHUP.
"""

_TYPES = {bool: "True or false", int: "A whole number", float: "A number", str: "Text", Path: "A path"}


class Undocumented(Exception):
    """A key has neither a docstring nor an example to show: a defect in the classes of the settings."""


def document(*, user: bool) -> str:
    """The default configuration of the system's daemon, or of the user's own, as a TOML file with comments."""
    given = defaults(user=user)
    blocks = [*_comment(_HEAD)]
    for key in all_keys():
        path = _example_path(key.path)
        if key.is_table:
            blocks += _given_names(key, given)
            blocks += ["", *_table(key, path)]
        else:
            blocks += ["", *_value(key, path, given)]
    return "\n".join(blocks) + "\n"


def _given_names(key: Key, given: Mapping[str, Any]) -> Iterator[str]:
    """The tables, or the keys of one table, that exist by default."""
    if key.path[-1] == NAME:
        for name, values in (_at(given, key.path[:-1]) or {}).items():
            yield from ("", "# Exists by default.", f"#[{'.'.join((*key.path[:-1], name))}]")
            yield from (f"#{each} = {_toml(value)}" for each, value in values.items())


def _example_path(path: Sequence[str]) -> tuple[str, ...]:
    """A path with example names in place of the names that the user chooses."""
    if NAME not in path:
        return tuple(path)
    place = path.index(NAME)
    name = next(iter(_example_names(path[:place])))
    return _example_path((*path[:place], name, *path[place + 1 :]))


def _example_names(path: Sequence[str]) -> Mapping[str, Any]:
    field = next(key.field for key in all_keys() if key.path == (*path, NAME))
    names: Mapping[str, Any] | None = next(iter(field.examples or ()), None)
    if names is None:
        raise Undocumented(f"{'.'.join(path)} needs examples=[{{name: value}}]")
    return names


def _table(key: Key, path: Sequence[str]) -> Iterator[str]:
    text = key.field.description if key.type is None else inspect.getdoc(key.type)
    if not text:
        raise Undocumented(f"the table {key.dotted} needs a docstring")
    yield from _comment(text)
    yield f"#[{'.'.join(path)}]"


def _value(key: Key, path: Sequence[str], given: Mapping[str, Any]) -> Iterator[str]:
    value, said = _shown(key, path, given)
    if key.path[-1] != NAME:  # Otherwise the table above has explained it.
        if not key.field.description:
            raise Undocumented(f"{key.dotted} needs a docstring")
        yield from _comment(key.field.description)
    effect = "A reload applies it" if is_live(key.path) else "A change needs a restart"
    yield from _comment(". ".join(part for part in (_type(key), said, effect, variable(path)) if part))
    if key.path[-1] == NAME:
        yield from (f"#{name} = {_toml(each)}" for name, each in (_at(given, path[:-1]) or {}).items())
    yield f"#{path[-1]} = {_toml(value)}"


def _shown(key: Key, path: Sequence[str], given: Mapping[str, Any]) -> tuple[Any, str]:
    """The value to show, and a sentence about its default."""
    if (value := _at(given, path)) is not None:
        return value, f"Default: {_toml(value)}"
    field = key.field
    if key.path[-1] == NAME:
        return _example_names(path[:-1])[path[-1]], ""
    default = None if field.is_required() else field.get_default(call_default_factory=True, validated_data={})
    said = "Not set by default" if default in (None, "") else f"Default: {_toml(default)}"
    if field.examples:
        return field.examples[0], "Required" if field.is_required() else said
    if default is None:
        raise Undocumented(f"{key.dotted} has no default to show: give it examples=[…]")
    return default, said


def _at(values: Mapping[str, Any], path: Sequence[str]) -> Any:
    for name in path:
        if not isinstance(values, Mapping) or name not in values:
            return None
        values = values[name]
    return values


def _type(key: Key) -> str:
    kind = key.type
    if get_origin(kind) is Literal:
        return f"One of {', '.join(map(str, get_args(kind)))}"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"One of {', '.join(str(member.value) for member in kind)}"
    said = _TYPES.get(kind, "A list")
    for limit in key.field.metadata:
        if isinstance(limit, Ge):
            said += f", at least {limit.ge}"
        elif isinstance(limit, Gt):
            said += f", more than {limit.gt}"
    return said


def _toml(value: Any) -> str:
    if isinstance(value, frozenset | set | list | tuple):
        return f"[{', '.join(sorted(map(_toml, value)))}]"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return json.dumps(str(value), ensure_ascii=False)


def _comment(text: str) -> Iterator[str]:
    for line in textwrap.wrap(" ".join(text.split()), WIDTH - 2, break_long_words=False, break_on_hyphens=False):
        yield f"# {line}"

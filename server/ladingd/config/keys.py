"""All keys of the configuration, as the classes of the settings define them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ladingd.config.settings import DELIMITER, PREFIX, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


NAME = "NAME"
"""Stands for a name that the user chooses: of a connection, a root or a client."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """A key that has a value, or a table. ``path`` are the tables above it and its own name."""

    path: tuple[str, ...]
    field: FieldInfo
    type: Any
    """The type of the value, without None. For a table, its class, or None if the user chooses the names in it."""
    is_table: bool = False

    @property
    def dotted(self) -> str:
        """As the user writes it: tls.listen."""
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """The variable of the environment that has the same meaning."""
        return variable(self.path)


def variable(path: Sequence[str]) -> str:
    """The variable of the environment for a key."""
    return PREFIX + DELIMITER.join(path).upper()


def all_keys(model: type[BaseModel] = Settings, above: tuple[str, ...] = ()) -> Iterator[Key]:
    """All keys and tables of a class and of its tables. Values come before tables, as in a file."""
    keys = [_key(name, field, above) for name, field in model.model_fields.items()]
    yield from (key for key in keys if not key.is_table)
    for key in keys:
        if not key.is_table:
            continue
        yield key
        if key.type is not None:
            yield from all_keys(key.type, key.path)
        else:
            yield Key(path=(*key.path, NAME), field=key.field, type=_value_type(key.field.annotation))


def _key(name: str, field: FieldInfo, above: tuple[str, ...]) -> Key:
    kind = _bare(field.annotation)
    if get_origin(kind) is dict:
        kind = _value_type(kind)
        if not _is_model(kind):
            return Key(path=(*above, name), field=field, type=None, is_table=True)
        return Key(path=(*above, name, NAME), field=field, type=kind, is_table=True)
    return Key(path=(*above, name), field=field, type=kind, is_table=_is_model(kind))


def _value_type(kind: Any) -> Any:
    return _bare(get_args(_bare(kind))[1])


def _bare(kind: Any) -> Any:
    """A type without its annotations and without None."""
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    if NoneType in (arguments := get_args(kind)):
        (kind,) = (each for each in arguments if each is not NoneType)
        return _bare(kind)
    return kind


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def known_key(path: Sequence[str]) -> Key | None:
    """The key for a path in a file; None if the key is unknown."""
    for key in all_keys():
        if len(key.path) == len(path) and _begins(key.path, path):
            return key
    return None


def suggestion(path: Sequence[str]) -> str:
    """What the author of an unknown key may have meant."""
    *table, name = path
    keys = list(all_keys())
    if table and any(key.path == (name,) for key in keys):
        return f"{name} belongs above the first [table] of the file: move it there"
    below = [key for key in keys if len(key.path) > len(table) and _begins(key.path, table)]
    beside = list(dict.fromkeys(key.path[len(table)] for key in below))
    if near := difflib.get_close_matches(name, beside, n=1):
        return f"did you mean {near[0]}?"
    if elsewhere := [key.dotted for key in keys if key.path[-1] == name]:
        return f"did you mean {' or '.join(elsewhere)}?"
    return f"known here: {', '.join(beside)}" if table else "to print all keys: ladingd config init"


def _begins(path: Sequence[str], table: Sequence[str]) -> bool:
    return all(ours in (theirs, NAME) for ours, theirs in zip(path, table, strict=False))

"""Every key can be set in the environment, which overrides the file."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

import pytest

from ladingd.config import load
from ladingd.config.document import document
from ladingd.config.keys import NAME, Key, all_keys
from tests.unit.config.test_document import uncommented

if TYPE_CHECKING:
    from pydantic import BaseModel

CONTENT = tomllib.loads(uncommented(document(user=False)))
VALUES = [key for key in all_keys() if not key.is_table]
SPECIAL: dict[str, Any] = {
    "tls.listen": "[::1]:1",
    "tls.listen_mutual": "[::1]:2",
    "metrics.listen": "[::1]:3",
    "connections.NAME.url": "sqlite:////srv/other.db",
    "connections.NAME.password_env": "OTHER",
}


def named(key: Key) -> tuple[str, ...]:
    """The path, with the names of the example filled in."""
    path: list[str] = []
    content = CONTENT
    for name in key.path:
        path.append(next(iter(content)) if name == NAME else name)
        content = content[path[-1]]
    return tuple(path)


def another(key: Key, value: Any) -> Any:
    """A valid value that differs from the file's."""
    if key.dotted in SPECIAL:
        return SPECIAL[key.dotted]
    choices = get_args(key.type) if get_origin(key.type) is not None else ()
    if not choices and hasattr(key.type, "__members__"):
        choices = tuple(key.type)
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case list():
            return ["other"]
    return next((str(choice) for choice in choices if str(choice) != value), "/other")


def found(settings: BaseModel, path: tuple[str, ...]) -> Any:
    value: Any = settings
    for name in path:
        value = value[name] if isinstance(value, dict) else getattr(value, name)
    return value


@pytest.mark.parametrize("key", VALUES, ids=lambda key: key.dotted)
def test_a_variable_wins_over_the_file(key: Key, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.loads(json.dumps(CONTENT))
    if key.dotted.startswith("connections.NAME."):
        content["connections"]["warehouse"] = {"url": "postgresql://h/d"}  # A password can have only one source.
    file.write_text(as_toml(content))
    path = named(key)
    value = another(key, found_in(CONTENT, path))
    monkeypatch.setenv("LADINGD_" + "__".join(path).upper(), value if isinstance(value, str) else json.dumps(value))
    before = found_in(CONTENT, path)
    after = found(load(file, user=False), path)
    if isinstance(after, frozenset):
        after = sorted(after)
    assert after == (Path(value) if isinstance(after, Path) else value)
    assert after != before


def found_in(content: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        content = content[name]
    return content


def as_toml(content: dict[str, Any], above: str = "") -> str:
    values = [f"{key} = {json.dumps(value)}" for key, value in content.items() if not isinstance(value, dict)]
    tables = [
        f"[{above}{key}]\n{as_toml(value, f'{above}{key}.')}"
        for key, value in content.items()
        if isinstance(value, dict)
    ]
    return "\n".join([*values, *tables])


def test_a_connection_and_a_root_of_the_environment_alone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('[connections.crm]\nurl = "sqlite:////srv/crm.db"\n')
    monkeypatch.setenv("LADINGD_CONNECTIONS__LAKE__URL", "postgresql://h/lake")
    monkeypatch.setenv("LADINGD_ROOTS__INBOX", "/srv/inbox")
    settings = load(file, user=False)
    assert {name: one.url for name, one in settings.connections.items()} == {
        "crm": "sqlite:////srv/crm.db",
        "lake": "postgresql://h/lake",
    }
    assert settings.roots == {"inbox": Path("/srv/inbox")}

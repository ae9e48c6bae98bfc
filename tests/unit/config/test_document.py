"""The documented default file lists every key and can be loaded."""

from __future__ import annotations

import re
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from ladingd.config import document as module
from ladingd.config import load
from ladingd.config.document import Undocumented, document
from ladingd.config.keys import NAME, Key, all_keys

KEY = re.compile(r"^#(?=[a-z\[])", re.MULTILINE)


def uncommented(text: str) -> str:
    return KEY.sub("", text)


@pytest.mark.parametrize("user", [False, True])
def test_as_it_is_it_changes_nothing(file: Path, user: bool) -> None:
    file.write_text(document(user=user))
    untouched = file.with_name("empty.toml")
    untouched.write_text("")
    assert tomllib.loads(file.read_text()) == {}
    assert load(file, user=user) == load(untouched, user=user)


@pytest.mark.parametrize("user", [False, True])
def test_uncommented_it_loads_and_every_key_is_in_it(file: Path, user: bool) -> None:
    text = uncommented(document(user=user))
    file.write_text(text)
    load(file, user=user)
    content = tomllib.loads(text)
    assert [key.dotted for key in all_keys() if not has(content, key.path)] == []


def has(content: Any, path: tuple[str, ...]) -> bool:
    if not path:
        return True
    below = content.values() if path[0] == NAME else [content[path[0]]] if path[0] in content else []
    return any(has(each, path[1:]) for each in below)


@pytest.mark.parametrize("user", [False, True])
def test_a_key_that_has_a_default_shows_it(file: Path, user: bool) -> None:
    """If each key is uncommented alone, the settings equal those of an empty file."""
    file.write_text("")
    default = load(file, user=user)
    lines = document(user=user).splitlines()
    for above, line in pairwise(lines):
        if KEY.match(line) and " Default: " in above and "__" not in above:
            file.write_text(line[1:])
            assert load(file, user=user) == default, line


def test_it_fits_a_terminal_and_names_variable_and_effect() -> None:
    text = document(user=False)
    assert max(map(len, text.splitlines())) <= module.WIDTH
    assert "LADINGD_TLS__LISTEN_MUTUAL" in text
    slots = text.split("#slots = 4")[0].splitlines()[-1]
    assert slots == "# A whole number, at least 1. Default: 4. A reload applies it. LADINGD_SLOTS"


def test_a_key_of_which_nothing_can_be_shown_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    class Poor(BaseModel):
        slots: Path | None = None
        socket: Path = Field(description="said", default=Path("/x"))

    def keys() -> list[Key]:
        return list(all_keys(Poor))

    monkeypatch.setattr(module, "all_keys", keys)
    with pytest.raises(Undocumented, match="slots"):
        document(user=False)

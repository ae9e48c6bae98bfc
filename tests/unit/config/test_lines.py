"""The line of a key in every notation."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from ladingd.config.lines import lines_of

if TYPE_CHECKING:
    from collections.abc import Iterator

TRICKY = '''\
# a comment with = and [brackets]
one = 1  # and more
"quoted key" = "a # that is none"
'literal.key' = 'C:\\'
a.b . "c d" = true

text = """
two = 2
[no.table]
\\""" still ""text""""
raw = \'\'\'
three = 3 \'\'\'\'
list = [ # of several lines
  "x, y", [1, 2], # ]
  { in_list = 1 },
]
inline = { four = 4, deep = { five = "}" } , list = [] }
when = 1979-05-27 07:32:00
[ table . sub ]
six = 6
[connections.crm]
url = "sqlite:////x"
[[array]]
seven = 7
'''

EXPECTED = {
    ("one",): 2,
    ("quoted key",): 3,
    ("literal.key",): 4,
    ("a", "b", "c d"): 5,
    ("text",): 7,
    ("raw",): 11,
    ("list",): 13,
    ("list", "in_list"): 15,
    ("inline",): 17,
    ("inline", "deep", "five"): 17,
    ("when",): 18,
    ("table",): 19,
    ("table", "sub"): 19,
    ("table", "sub", "six"): 20,
    ("connections", "crm"): 21,
    ("connections", "crm", "url"): 22,
    ("array", "seven"): 24,
}


def test_each_key_of_a_tricky_text() -> None:
    tomllib.loads(TRICKY)
    lines = lines_of(TRICKY)
    assert {key: lines.get(key) for key in EXPECTED} == EXPECTED
    assert not {("two",), ("no",), ("three",)} & lines.keys(), "what stands in a text is no key"


names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6)
plain = st.one_of(st.integers(), st.booleans(), names, st.lists(names, max_size=3))
tables = st.dictionaries(names, st.dictionaries(names, plain, max_size=4), max_size=4)


def written(value: Any) -> str:
    """A value in TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return "[\n" + ",\n".join(map(written, value)) + "\n]" if isinstance(value, list) else str(value)


def text_of(content: dict[str, dict[str, Any]]) -> Iterator[str]:
    for table, pairs in content.items():
        yield f"[{written(table)}]"
        yield from (f"{written(key)} = {written(value)} # {key!r}" for key, value in pairs.items())


@given(tables)
def test_every_key_that_the_parser_finds_has_a_line_that_names_it(content: dict[str, dict[str, Any]]) -> None:
    text = "\n".join(text_of(content))
    assert tomllib.loads(text) == content
    lines, rows = lines_of(text), text.split("\n")
    for table, pairs in content.items():
        assert rows[lines[table,] - 1] == f"[{written(table)}]"
        for key in pairs:
            assert rows[lines[table, key] - 1].startswith(f"{written(key)} = ")

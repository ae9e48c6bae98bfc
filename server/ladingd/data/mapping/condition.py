"""A condition of a spec that says which rows of the table a job replaces: comparisons of columns with values.

It is parsed and written anew by sqlglot, so nothing else reaches the database: no function, no query, no other table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ladingd.core.errors import InvalidSpec
from ladingd.data.values.names import fold

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlglot import exp

FIELD = "where"
_ALLOWED = frozenset(
    {"And", "Or", "Not", "Paren", "EQ", "NEQ", "GT", "GTE", "LT", "LTE", "In", "Between", "Like", "Is", "Null"}
    | {"Boolean", "Literal", "Neg", "Column", "Identifier", "Placeholder", "Tuple"}
)
"""The nodes of a condition."""
_FORM = "write comparisons such as day = :day and kind in ('a', 'b'), with and, or, not, is null, like and between"


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """A condition in the SQL of a database, once about the rows ``t`` and once about the records ``s``."""

    rows: str
    records: str


def condition_of(text: str, columns: Sequence[str], variables: Mapping[str, str], dialect: str) -> Condition:
    """The condition that a text means. ``columns``: those that the files fill. Raises InvalidSpec.

    ``:name`` and ``$name`` stand for variables, as texts that the database converts to the type of the column.
    """
    tree = _parsed(text)
    _check(tree)
    for place in list(tree.find_all(_kind("Placeholder"))):
        _put(place, str(place.this or ""), variables)
    for place in list(tree.find_all(_kind("Column"))):
        name = str(place.name)
        if name.startswith("$"):
            _put(place, name[1:], variables)
        else:
            place.set("this", _identifier(_found(name, columns)))
    return Condition(rows=_about("t", tree, dialect), records=_about("s", tree, dialect))


def _parsed(text: str) -> exp.Expr:
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        statements = sqlglot.parse(text)
    except SqlglotError as error:
        said = getattr(error, "errors", None) or [{}]
        where = f", column {said[0]['col']}" if said[0].get("col") else ""
        raise InvalidSpec(FIELD, f"{text!r} is no condition{where}; {_FORM}") from error
    if len(statements) != 1 or statements[0] is None:
        raise InvalidSpec(FIELD, f"{text!r} is no single condition; {_FORM}")
    return statements[0]


def _check(tree: exp.Expr) -> None:
    for node in tree.walk():
        if type(node).__name__ not in _ALLOWED or (type(node).__name__ == "Column" and node.args.get("table")):
            raise InvalidSpec(FIELD, f"{node.sql()} is not allowed in a condition; {_FORM}")
    if type(tree).__name__ in ("Column", "Literal", "Placeholder", "Neg", "Tuple", "Null"):
        raise InvalidSpec(FIELD, f"{tree.sql()} is a value and no condition; {_FORM}")


def _put(place: exp.Expr, name: str, variables: Mapping[str, str]) -> None:
    if name not in variables:
        known = ", ".join(sorted(variables)) or "none"
        raise InvalidSpec(FIELD, f"there is no variable {name!r}; there are: {known}; --var {name}=VALUE sets it")
    place.replace(_kind("Literal")(this=variables[name], is_string=True))


def _found(name: str, columns: Sequence[str]) -> str:
    alike = [column for column in columns if fold(column) == fold(name)]
    if name in columns:
        return name
    if len(alike) != 1:
        raise InvalidSpec(FIELD, f"the files fill no column {name!r}; they fill {', '.join(columns)}")
    return alike[0]


def _about(alias: str, tree: exp.Expr, dialect: str) -> str:
    copy = tree.copy()
    for column in list(copy.find_all(_kind("Column"))):
        column.set("table", _identifier(alias))
    return str(copy.sql(dialect=dialect, comments=False))


def _identifier(name: str) -> exp.Expr:
    identifier: exp.Expr = _kind("Identifier")(this=name, quoted=True)
    return identifier


def _kind(name: str) -> type[exp.Expr]:
    from sqlglot import exp

    kind: type[exp.Expr] = getattr(exp, name)
    return kind

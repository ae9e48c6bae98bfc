"""What an expression may say: operators and functions of the record and the variables, whose result never changes.

DuckDB parses an expression; this module walks the tree. What is not named here is refused: subqueries, aggregates,
windows, lambdas, functions that read files, settings or the clock, and functions that change from call to call. A chunk
that is written again after a crash must give the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

LONGEST = 10_000
"""The most characters of an expression."""

PREFIX = "SELECT "
"""What stands before an expression when it is parsed. Its length is part of all positions."""


class BadExpression(ValueError):
    """An expression is wrong. ``position`` counts its bytes; None: the whole expression is meant."""

    def __init__(self, problem: str, position: int | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.position = position

    def within(self, expression: str) -> str:
        """The problem and where it is."""
        if self.position is None:
            return f"{self.problem}: {_excerpt(expression)}"
        data = expression.encode()
        place = min(max(self.position, 0), len(data))
        before = data[:place].decode(errors="ignore")
        line, character = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        where = f"line {line}, character {character}" if "\n" in expression else f"character {character}"
        rest = data[place:].decode(errors="ignore")
        return f"{self.problem}, at {where}" + (f": {_excerpt(rest)}" if rest.strip() else ", the end")


def _excerpt(text: str) -> str:
    shown = " ".join(text.split())
    return shown if len(shown) <= 40 else f"{shown[:40]}…"


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What an expression reads."""

    columns: Sequence[str]
    variables: Sequence[str]


def needs_of(tree: Mapping[str, Any], columns: Sequence[str], variables: Sequence[str]) -> Needs:
    """What a parsed ``SELECT expression`` reads. Raises BadExpression if it is more than an expression, or says what it
    may not say. ``columns`` and ``variables`` are all that there are."""
    (statement, *more) = tree["statements"]
    if more:
        raise BadExpression("several statements are no expression")
    node = statement["node"]
    if node["type"] != "SELECT_NODE" or len(node["select_list"]) != 1 or node["from_table"]["type"] != "EMPTY":
        raise BadExpression("it is more than one expression")
    if node.keys() - _BARE or node["cte_map"]:
        raise BadExpression("it is more than an expression")
    (expression,) = node["select_list"]
    if expression.get("alias"):
        raise BadExpression("an expression has no name: leave out AS")
    walk = _Walk(columns=columns, variables=variables, found_columns={}, found_variables={})
    walk.visit(expression)
    return Needs(columns=tuple(walk.found_columns), variables=tuple(walk.found_variables))


_BARE = frozenset({"type", "cte_map", "select_list", "from_table", "aggregate_handling"})


@dataclass(frozen=True, kw_only=True, slots=True)
class _Walk:
    columns: Sequence[str]
    variables: Sequence[str]
    found_columns: dict[str, None]
    found_variables: dict[str, None]

    def visit(self, node: Mapping[str, Any]) -> None:
        kind = node["class"]
        check = _CHECKS.get(kind)
        if check is None:
            raise BadExpression(_REFUSED.get(kind, f"{kind.lower()} cannot be used here"), _place(node))
        check(self, node)
        for child in _children(node):
            self.visit(child)

    def column(self, node: Mapping[str, Any]) -> None:
        names = node["column_names"]
        name = ".".join(names)
        found = [each for each in self.columns if each == name] if len(names) == 1 else []
        found = found or ([each for each in self.columns if each.lower() == name.lower()] if len(names) == 1 else [])
        if len(found) == 1:
            self.found_columns[found[0]] = None
            return
        if len(found) > 1:
            raise BadExpression(f"the file has several columns {name!r}", _place(node))
        if name in self.columns:
            raise BadExpression(f'write "{name}" in double quotes', _place(node))
        raise BadExpression(f"the file has no column {name!r}{_advice(name, self.columns)}", _place(node))

    def parameter(self, node: Mapping[str, Any]) -> None:
        name = node["identifier"]
        if name not in self.variables:
            listing = ", ".join(f"${each}" for each in self.variables)
            raise BadExpression(f"there is no variable ${name}; there are {listing}", _place(node))
        self.found_variables[name] = None

    def function(self, node: Mapping[str, Any]) -> None:
        name = node["function_name"].lower()
        if len(node.get("qualified_name", {}).get("path", [name])) > 1:
            raise BadExpression("a function has no schema", _place(node))
        if name in _CLOCK:
            raise BadExpression(f"{name} changes from call to call; use $today or $now", _place(node))
        if name not in FUNCTIONS:
            close = get_close_matches(name, FUNCTIONS, 1, 0.75)
            advice = f"; the closest is {close[0]}" if close else ""
            raise BadExpression(f"the function {name} cannot be used here{advice}", _place(node))
        order = node.get("order_bys", {})
        if node.get("filter") or node.get("distinct") or node.get("export_state") or order.get("orders"):
            raise BadExpression(f"{name} is used as an aggregate, which is not possible here", _place(node))

    def operator(self, node: Mapping[str, Any]) -> None:
        if node["type"] not in _OPERATORS:
            raise BadExpression(f"{node['type'].lower()} cannot be used here", _place(node))

    def type(self, node: Mapping[str, Any]) -> None:
        name = node["type_name"].lower()
        if name not in TYPES:
            listing = ", ".join(sorted(TYPES))
            raise BadExpression(f"{name} is not a type that can be used here; they are {listing}", _place(node))

    def nothing(self, node: Mapping[str, Any]) -> None:
        pass


def _children(value: Any) -> Iterator[Mapping[str, Any]]:
    """The expressions directly within one."""
    parts = value.values() if isinstance(value, Mapping) else value
    for part in parts:
        if isinstance(part, Mapping) and "class" in part:
            yield part
        elif isinstance(part, Mapping | list):
            yield from _children(part)


def _place(node: Mapping[str, Any]) -> int | None:
    place = node.get("query_location")
    return None if place is None else place - len(PREFIX)


def _advice(name: str, columns: Sequence[str]) -> str:
    if name.lower() in _CLOCK:
        return "; use $today or $now"
    by_lower = {each.lower(): each for each in columns}
    close = get_close_matches(name.lower(), by_lower, 3)
    if close:
        return f"; the closest: {', '.join(by_lower[each] for each in close)}"
    return f"; it has {', '.join(columns[:20])}"


_CHECKS = {
    "COLUMN_REF": _Walk.column,
    "PARAMETER": _Walk.parameter,
    "FUNCTION": _Walk.function,
    "OPERATOR": _Walk.operator,
    "TYPE": _Walk.type,
    "CONSTANT": _Walk.nothing,
    "CAST": _Walk.nothing,
    "CASE": _Walk.nothing,
    "COMPARISON": _Walk.nothing,
    "CONJUNCTION": _Walk.nothing,
    "BETWEEN": _Walk.nothing,
}

_REFUSED = {
    "SUBQUERY": "a subquery cannot be used here: an expression sees one record",
    "WINDOW": "a window cannot be used here: an expression sees one record",
    "LAMBDA": "a lambda cannot be used here",
    "STAR": "* cannot be used here: name the columns",
    "DEFAULT": "DEFAULT cannot be used here: use --default",
    "COLLATE": "COLLATE cannot be used here",
}

_OPERATORS = frozenset(
    {
        "OPERATOR_NOT",
        "OPERATOR_IS_NULL",
        "OPERATOR_IS_NOT_NULL",
        "OPERATOR_COALESCE",
        "OPERATOR_NULLIF",
        "OPERATOR_TRY",
        "COMPARE_IN",
        "COMPARE_NOT_IN",
        "ARRAY_EXTRACT",
        "ARRAY_SLICE",
    }
)

_CLOCK = frozenset(
    {
        "now",
        "today",
        "current_date",
        "current_time",
        "current_timestamp",
        "current_localtime",
        "current_localtimestamp",
        "get_current_time",
        "get_current_timestamp",
        "transaction_timestamp",
        "localtime",
        "localtimestamp",
        "ago",
        "age",
    }
)

_TYPE_NAMES = """
boolean bool tinyint smallint integer int bigint hugeint int1 int2 int4 int8 int16 int32 int64 signed short long
utinyint usmallint uinteger ubigint float real double float4 float8 decimal numeric dec varchar text string char bpchar
date time timestamp datetime timestamptz uuid interval
"""

TYPES = frozenset(_TYPE_NAMES.split()) | {"timestamp with time zone", "double precision"}
"""The types that values can be cast to."""

# `repeat`, `range` and functions that compare two texts letter by letter are missing: they could take all memory or
# never end.
_TEXT = """
ascii bit_length char_length character_length chr concat concat_ws contains ends_with format initcap instr lcase left
left_grapheme length length_grapheme len lower lpad ltrim md5 nfc_normalize ord overlay position prefix printf
regexp_escape regexp_extract regexp_full_match regexp_matches regexp_replace replace reverse right right_grapheme rpad
rtrim sha1 sha256 split_part starts_with strip_accents strlen strpos substr substring substring_grapheme suffix to_hex
translate trim ucase unicode upper url_decode url_encode string_split str_split string_to_array split array_extract
list_extract list_element element_at array_to_string
|| ~~ !~~ ~~* !~~* ~~~ ^@ like_escape not_like_escape ilike_escape not_ilike_escape
"""
_NUMBERS = """
+ - * / // % ** ^ & | << >> ~ @ !
abs acos add asin atan atan2 bit_count cbrt ceil ceiling cos cot degrees divide even exp fdiv floor fmod gcd greatest
greatest_common_divisor isfinite isinf isnan lcm least ln log log10 log2 mod multiply nullif pi pow power radians round
round_even sign sin sqrt subtract tan trunc xor if ifnull coalesce
"""
_DATES = """
century date_add date_diff date_part date_sub date_trunc datediff datepart datesub datetrunc day dayname dayofmonth
dayofweek dayofyear days_in_month decade epoch epoch_ms epoch_us era hour isodow isoyear julian last_day make_date
make_time make_timestamp microsecond millennium millisecond minute month monthname quarter second strftime strptime
time_bucket timezone to_centuries to_days to_decades to_hours to_microseconds to_milliseconds to_minutes to_months
to_quarters to_seconds to_timestamp to_weeks to_years try_strptime week weekday weekofyear year yearweek
"""
_JSON = """
-> ->> json_array_length json_exists json_extract json_extract_path json_extract_path_text json_extract_string json_type
json_valid json_value
"""

FUNCTIONS = frozenset(" ".join((_TEXT, _NUMBERS, _DATES, _JSON)).split())
"""The functions and operators that can be used. All give the same result for the same record."""

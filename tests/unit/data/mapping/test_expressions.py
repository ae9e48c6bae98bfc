"""Expressions see the record and the variables only, and are ended by limits."""

from __future__ import annotations

import pickle
import resource
import time
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from ladingd.core.errors import ExpressionStopped, InvalidSpec
from ladingd.core.plan import Field
from ladingd.core.spec import ColumnMapping
from ladingd.data.mapping import evaluator as evaluation
from ladingd.data.mapping import expressions
from ladingd.data.mapping.evaluator import Evaluator
from ladingd.data.mapping.syntax import FUNCTIONS, BadExpression

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.data.conftest import Yard

RECORDS = pa.table(
    {
        "a": pa.array(["1", "2", None, "x"]),
        "b": pa.array([1, 2, 3, 4]),
        "First Name": pa.array(["Anna", "Bob", "Carl", None]),
        "d": pa.array([date(2026, 1, 31), None, None, None]),
    }
)
VARIABLES = {"today": date(2026, 2, 28), "now": datetime(2026, 2, 28, 10, 0), "x": "5"}


@pytest.fixture(autouse=True)
def ends(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    """After how many seconds, and with which status, this process would have ended."""
    ends: list[tuple[float, int]] = []

    class Timer:
        def __init__(self, seconds: float, end: object, codes: tuple[int]) -> None:
            ends.append((seconds, *codes))

        def start(self) -> None:
            pass

    monkeypatch.setattr(evaluation.threading, "Timer", Timer)
    return ends


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    return Evaluator()


def values(evaluator: Evaluator, text: str) -> list[Any]:
    expression = evaluator.parsed(text, "it", RECORDS.column_names, list(VARIABLES))
    evaluator.kind(expression, RECORDS, VARIABLES)
    found = evaluator.values(expression, RECORDS, VARIABLES)
    listed: list[Any] = found.values.to_pylist()
    return [f"failed: {found.failed[row]}" if row in found.failed else value for row, value in enumerate(listed)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", [1, 1, 1, 1]),
        ("'it''s'", ["it's"] * 4),
        ("b * 2 + 1", [3, 5, 7, 9]),
        ('upper("First Name")', ["ANNA", "BOB", "CARL", None]),
        ('"first name"', ["Anna", "Bob", "Carl", None]),
        ("B", [1, 2, 3, 4]),
        ("a || '-' || b", ["1-1", "2-2", None, "x-4"]),
        ("CASE WHEN b > 3 THEN 'many' WHEN b = 1 THEN 'one' END", ["one", None, None, "many"]),
        ("b BETWEEN 2 AND 3 AND NOT a IS NULL", [False, True, False, False]),
        ("a IN ('1', 'x')", [True, False, None, True]),
        ("a LIKE '_'", [True, True, None, True]),
        ("coalesce(a, 'none')", ["1", "2", "none", "x"]),
        ("nullif(a, 'x')", ["1", "2", None, None]),
        ("try_cast(a AS INTEGER)", [1, 2, None, None]),
        ('substr("First Name", 1, 2) -- the beginning', ["An", "Bo", "Ca", None]),
        ("split_part('a,b', ',', 2)", ["b"] * 4),
        ("d + INTERVAL 1 MONTH", [datetime(2026, 2, 28), None, None, None]),
        ("strftime(d, '%d.%m.%Y')", ["31.01.2026", None, None, None]),
        ("extract(year FROM d)", [2026, None, None, None]),
        ("date_diff('day', d, $today)", [28, None, None, None]),
        ("CAST($x AS INTEGER) + b", [6, 7, 8, 9]),
        ("$now", [VARIABLES["now"]] * 4),
        ("b;", [1, 2, 3, 4]),
        ("'{\"k\": \"v\"}' ->> 'k'", ["v"] * 4),
        ("round(b / 3, 2)", [0.33, 0.67, 1.0, 1.33]),
        ("CAST(a AS INTEGER)", [1, 2, None, "failed: Could not convert string 'x' to INT32"]),
    ],
)
def test_an_expression_gives(evaluator: Evaluator, text: str, expected: list[Any]) -> None:
    assert values(evaluator, text) == expected


REFUSED = [
    ("read_csv('/etc/passwd')", "the function read_csv cannot be used here"),
    ("read_text('/etc/passwd')", "the function read_text cannot be used here"),
    ("read_blob('/etc/passwd')", "the function read_blob cannot be used here"),
    ("glob('/*')", "the function glob cannot be used here"),
    ("getenv('HOME')", "the function getenv cannot be used here"),
    ("current_setting('home_directory')", "the function current_setting cannot be used here"),
    ("getvariable('x')", "the function getvariable cannot be used here"),
    ("a FROM read_csv('/etc/passwd')", "it is more than one expression"),
    ("(SELECT content FROM read_text('/etc/passwd'))", "a subquery cannot be used here"),
    ("EXISTS (SELECT 1)", "a subquery cannot be used here"),
    ("b IN (SELECT 1)", "a subquery cannot be used here"),
    ("ARRAY(SELECT 1)", "a subquery cannot be used here"),
    ("query('SELECT 1')", "the function query cannot be used here"),
    ("json_execute_serialized_sql('{}')", "the function json_execute_serialized_sql cannot be used here"),
    ("json_deserialize_sql('{}')", "the function json_deserialize_sql cannot be used here"),
    ("a; COPY (SELECT 1) TO '/tmp/x'", "Only SELECT statements"),
    ("a; ATTACH '/tmp/x'", "Only SELECT statements"),
    ("a; INSTALL httpfs", "Only SELECT statements"),
    ("a; SELECT 2", "several statements are no expression"),
    ("COPY (SELECT 1) TO '/tmp/x'", "syntax error"),
    ("a UNION SELECT 1", "it is more than one expression"),
    ("a WHERE true", "it is more than an expression"),
    ("a LIMIT 1", "it is more than an expression"),
    ("a ORDER BY 1", "it is more than an expression"),
    ("DISTINCT a", "it is more than an expression"),
    ("a AS b", "an expression has no name"),
    ("a, b", "it is more than one expression"),
    ("*", "* cannot be used here"),
    ("COLUMNS(*)", "* cannot be used here"),
    ("sum(b)", "the function sum cannot be used here"),
    ("count(*)", "the function count_star cannot be used here"),
    ("first(a ORDER BY b)", "the function first cannot be used here"),
    ("row_number() OVER ()", "a window cannot be used here"),
    ("upper(a) FILTER (WHERE true)", "upper is used as an aggregate"),
    ("unnest([1, 2])", "the function unnest cannot be used here"),
    ("list_transform([1], x -> x)", "the function list_transform cannot be used here"),
    ("range(1000000000000)", "the function range cannot be used here"),
    ("generate_series(1, 1000000000000)", "the function generate_series cannot be used here"),
    ("repeat('x', 1000000000000)", "the function repeat cannot be used here"),
    ("levenshtein(a, a)", "the function levenshtein cannot be used here"),
    ("random()", "the function random cannot be used here"),
    ("uuid()", "the function uuid cannot be used here"),
    ("nextval('s')", "the function nextval cannot be used here"),
    ("now()", "now changes from call to call; use $today or $now"),
    ("age(d)", "age changes from call to call; use $today or $now"),
    ("current_date", "the file has no column 'current_date'; use $today or $now"),
    ("current_user", "the file has no column 'current_user'"),
    ("version()", "the function version cannot be used here"),
    ("hash(a)", "the function hash cannot be used here"),
    ("main.upper(a)", "a function has no schema"),
    ("system.main.getenv('HOME')", "a function has no schema"),
    ("a COLLATE nocase", "COLLATE cannot be used here"),
    ("CAST(a AS BLOB)", "blob is not a type that can be used here"),
    ("CAST(a AS ENUM('x'))", "enum is not a type that can be used here"),
    ("$y", "there is no variable $y; there are $today, $now, $x"),
    ("?", "there is no variable $1"),
    ("rec.a", "the file has no column 'rec.a'"),
    ("", "it is empty"),
    ("a +", 'syntax error at or near "+"'),
    ("a /* x", "unterminated /* comment"),
    ("'x", "unterminated"),
    ("a) FROM (SELECT 1 AS a", "syntax error"),
    ("1" + "+1" * 6_000, "it has more than 10,000 characters"),
]


@pytest.mark.parametrize(("text", "problem"), REFUSED)
def test_an_expression_is_refused(evaluator: Evaluator, text: str, problem: str) -> None:
    with pytest.raises(BadExpression) as caught:
        values(evaluator, text)
    assert caught.value.problem.startswith(problem)


def test_no_function_that_can_be_used_changes_from_call_to_call() -> None:
    """DuckDB tells which do. Those of dates depend on the time zone, which is fixed."""
    import duckdb

    with duckdb.connect(":memory:") as database:
        volatile = database.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability = 'VOLATILE'"
            " AND function_name NOT IN ('date_add')"
        ).fetchall()
        aggregates = database.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type NOT IN ('scalar', 'macro')"
        ).fetchall()
    assert FUNCTIONS.isdisjoint(name for (name,) in volatile)
    assert FUNCTIONS.isdisjoint(name for (name,) in aggregates)


@pytest.mark.parametrize("depth", [50, 2_000])
def test_nested_expressions_end_well(evaluator: Evaluator, depth: int) -> None:
    try:
        found = values(evaluator, "(" * depth + "b" + ")" * depth)
    except BadExpression:
        return
    assert found == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("upper(x)", "at character 7: x)"),
        ("a ||\n  nosuch(b)", "at line 2, character 3: nosuch(b)"),
        ("'ü' || x", "at character 8: x"),
        ("a +", "at character 3: +"),
    ],
)
def test_the_place_of_an_error_is_told(evaluator: Evaluator, text: str, place: str) -> None:
    with pytest.raises(BadExpression) as caught:
        values(evaluator, text)
    assert caught.value.within(text).endswith(place)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(evaluation, "SECONDS", 0.5)
    monkeypatch.setattr(evaluation, "CHECK_SECONDS", 0.5)
    before = resource.getrlimit(resource.RLIMIT_AS)
    yield
    assert resource.getrlimit(resource.RLIMIT_AS) == before


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "text",
    [
        "lpad(a, 2000000000, 'x')",
        "lpad(lpad(a, 100000000, 'x'), 2000000000, 'y')",
        "printf('%1000000000d', b)",
        "strptime(a, lpad('x', 2000000000, 'x'))",
        "replace(lpad('a', 1000000, 'a'), 'a', lpad('b', 1000000, 'b'))",
    ],
)
def test_an_expression_that_takes_all_memory_is_ended(text: str) -> None:
    with pytest.raises(ExpressionStopped, match=r"it (needs more than the 512 MiB|took longer than it may: 0.5 s)"):
        values(Evaluator(), text)


@pytest.mark.usefixtures("impatient")
def test_an_expression_that_takes_too_long_is_ended(evaluator: Evaluator) -> None:
    text = "regexp_replace(" * 20 + "a" + ", '(a|b)*c', 'x')" * 20
    records = pa.table({"a": pa.array(["abababab" * 20] * 500_000)})
    expression = evaluator.parsed(text, "it", ["a"], [])
    begin = time.monotonic()
    with pytest.raises(ExpressionStopped):
        evaluator.values(expression, records, {})
    assert time.monotonic() - begin < 5
    assert values(evaluator, "b") == [1, 2, 3, 4], "the next one is evaluated"


@pytest.mark.usefixtures("impatient")
def test_a_database_that_cannot_be_interrupted_ends_with_its_process(
    monkeypatch: pytest.MonkeyPatch, ends: list[tuple[float, int]]
) -> None:
    monkeypatch.setattr(evaluation, "_GRACE", 0.1)
    evaluator = Evaluator()
    expression = evaluator.parsed("b", "the expression of total", ["b"], [])
    with pytest.raises(ExpressionStopped, match=r"the expression of total took longer than it may: 0.5 s"):
        evaluator._limited(expression, lambda: time.sleep(2))
    assert ends == [(evaluation._FAREWELL, 1)]


def test_the_error_survives_the_way_to_the_daemon() -> None:
    error = pickle.loads(pickle.dumps(ExpressionStopped("the filter needs more")))
    assert (error.code, error.message) == ("EXPRESSION_STOPPED", "the filter needs more")


def test_nothing_can_be_switched_on(evaluator: Evaluator) -> None:
    for statement in (
        "SET enable_external_access = true",
        "SET memory_limit = '10GB'",
        "LOAD httpfs",
        "COPY (SELECT 1) TO '/tmp/lading_escape.csv'",
        "ATTACH '/tmp/lading_escape.db'",
        "SELECT * FROM read_text('/etc/passwd')",
    ):
        with pytest.raises(evaluator._errors):
            evaluator._database.execute(statement)


def test_a_job_whose_expression_is_stopped_fails_and_names_it(yard: Yard) -> None:
    wishes = (ColumnMapping(target="n", expression="lpad(a, CAST(b AS INTEGER), 'x')"),)
    plan = yard.plan_import("a,b\nx,2\ny,2000000000\n", columns=wishes)
    with pytest.raises(ExpressionStopped, match="the expression of n needs more than the 512 MiB of memory"):
        yard.run(plan)
    assert yard.sql("SELECT * FROM t") == []


def test_a_plan_whose_expression_is_stopped_is_refused(yard: Yard) -> None:
    with pytest.raises(InvalidSpec) as caught:
        yard.plan_import("a\nx\n", filter="strptime(a, lpad('x', 2000000000, 'x')) IS NULL")
    assert (caught.value.field, caught.value.problem[:29]) == ("filter", "the filter needs more than th")


def test_a_chunk_that_is_written_again_gives_the_same_rows(yard: Yard) -> None:
    wishes = (
        ColumnMapping(target="at", expression="$now"),
        ColumnMapping(target="k", expression="md5(a || lading_line || lading_file || $today)"),
        ColumnMapping(target="r", expression="b / 3"),
    )
    plan = yard.plan_import("a,b\nx,1\ny,2\nz,x\n", columns=wishes, types={"b": "integer"}, filter="a > 'a'")
    yard.run(plan)
    first = yard.sql("SELECT * FROM t")
    yard.sql("DELETE FROM t")
    evaluation.evaluator.cache_clear()
    yard.run(pickle.loads(pickle.dumps(replace(plan, create_table=False))), "again")
    assert yard.sql("SELECT * FROM t") == first
    assert len(first) == 2


def test_today_and_now_are_those_of_the_plan() -> None:
    moment = datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC)
    variables = expressions.variables_of({"day": "x"}, moment)
    assert variables == {"today": "2026-02-28", "now": "2026-02-28 23:59:59", "day": "x"}
    assert expressions.bound(variables)["today"] == date(2026, 2, 28)
    assert expressions.variables_of({"today": "2026-01-01"}, moment)["today"] == "2026-01-01"
    with pytest.raises(ValueError, match=r"\$today is a date"):
        expressions.variables_of({"today": "yesterday"}, moment)


def test_places_can_be_read_and_columns_of_the_file_hide_them(yard: Yard) -> None:
    wishes = (
        ColumnMapping(target="line", expression="lading_line"),
        ColumnMapping(target="number", expression="lading_record"),
        ColumnMapping(target="name", expression="right(lading_file, 6)"),
    )
    yard.run(yard.plan_import('a\n"x\ny"\nz\n', columns=wishes))
    assert yard.sql("SELECT line, number, name FROM t") == [(2, 1, "in.csv"), (4, 2, "in.csv")]
    wishes = (ColumnMapping(target="line", expression="lading_line || '!'"),)
    yard.run(yard.plan_import("lading_line\nx\n", "u", columns=wishes), "other")
    assert yard.sql("SELECT * FROM u") == [("x", "x!")]


def test_columns_that_differ_only_in_case(yard: Yard) -> None:
    plan = replace(yard.plan_import("a\nx\n"), fields=tuple(Field(name=name, type="text") for name in ("a", "A")))
    assert expressions.parsed(plan, '"A"', "it").needs.columns == ("A",)
    with pytest.raises(BadExpression, match="names differ only in case cannot be used together: a, A"):
        expressions.parsed(plan, '"a" || "A"', "it")


@pytest.mark.parametrize("text", ["[1, 2]", "{'a': 1}", "INTERVAL 1 DAY", "string_split(a, ',')"])
def test_values_that_no_column_can_store(yard: Yard, text: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        yard.plan_import("a\nx\n", columns=(ColumnMapping(target="n", expression=text),))
    assert caught.value.field == "columns[0].expression"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("1", "integer"),
        ("1.5", "decimal(2,1)"),
        ("1 / 3", "real"),
        ("'x'", "text"),
        ("NULL", "text"),
        ("a = 'x'", "boolean"),
        ("$today", "date"),
        ("$now", "timestamp"),
        ("TIME '10:00:00'", "time"),
        ("CAST('2026-01-01 10:00:00+02' AS TIMESTAMPTZ)", "timestamptz"),
        ("CAST('6f9619ff-8b86-4d01-b42d-00cf4fc964ff' AS UUID)", "uuid"),
        ("CAST(1 AS HUGEINT)", "decimal(38,0)"),
    ],
)
def test_the_type_of_a_calculated_column(yard: Yard, text: str, kind: str) -> None:
    plan = yard.plan_import("a\nx\n", columns=(ColumnMapping(target="n", expression=text),))
    assert plan.columns[1].type == kind
    assert yard.run(plan).inserted == 1


def test_a_type_that_the_user_gives_wins(yard: Yard) -> None:
    plan = yard.plan_import(
        "a\n31/12/2024\n",
        columns=(ColumnMapping(target="n", expression="a"),),
        types={"n": "date:DD/MM/YYYY", "a": "text"},
    )
    yard.run(plan)
    assert yard.sql("SELECT n FROM t") == [("2024-12-31",)]

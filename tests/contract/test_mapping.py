"""The mapping of columns, in every kind of database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import ColumnMapping, CsvFormat, Enumeration, Header, Reconciliation
from ladingd.data.rejects.files import RejectFiles
from tests.contract.imports import JOB, OTHER, Pier

if TYPE_CHECKING:
    from ladingd.core.job import Reject

PEOPLE = (
    "Id,First Name,City,Born\n1, anna ,Berlin,1990-12-31\n2,BOB,,1980-01-02\n3,carl,Paris,\n4,dora,Rome,1987-07-08\n"
)
TINY = {"chunk_bytes": 1}
"""Every record is a chunk."""


def at(source: str = "", target: str = "", **wishes: object) -> ColumnMapping:
    return ColumnMapping(source=source, target=target, **wishes)  # type: ignore[arg-type]


def text(value: object) -> str:
    """Databases give dates as dates or as text."""
    return str(value)


@pytest.mark.parametrize("options", [{}, TINY], ids=["one chunk", "a chunk for each record"])
def test_a_new_table_has_the_names_values_and_columns_of_the_mapping(pier: Pier, options: dict[str, int]) -> None:
    counts = pier.imported(
        PEOPLE,
        columns=(
            at("First Name", "name", transformations=("trim", "title")),
            at("City", default_value="nowhere"),
            at(target="label", expression="upper(\"First Name\") || '/' || City"),
            at(target="line", expression="lading_line"),
            at(target="twice", expression="Id * 2"),
        ),
        ignored_columns=("Born",),
        **options,
    )
    assert (counts.read, counts.inserted) == (4, 4)
    assert pier.rows() == [
        (1, "Anna", "Berlin", "ANNA/Berlin", 2, 2),
        (2, "Bob", "nowhere", "BOB/nowhere", 3, 4),
        (3, "Carl", "Paris", "CARL/Paris", 4, 6),
        (4, "Dora", "Rome", "DORA/Rome", 5, 8),
    ]


def test_names_are_guessed(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER, first_name VARCHAR(20), birth_day DATE, strasse VARCHAR(20))")
    plan = pier.plan("ID,First Name,birthDay,Straße\n1,Anna,1990-12-31,x\n")
    assert [(each.source, each.target) for each in plan.columns] == [
        ("ID", "id"),
        ("First Name", "first_name"),
        ("birthDay", "birth_day"),
        ("Straße", "strasse"),
    ]
    assert plan.notes[:3] == (
        "'First Name' goes to first_name",
        "'birthDay' goes to birth_day",
        "'Straße' goes to strasse",
    )
    assert pier.run(plan).inserted == 1


def test_a_guess_must_suit_the_values_and_be_the_only_one(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER, birth_day DATE, first_name VARCHAR(20), firstname VARCHAR(20))")
    with pytest.raises(InvalidSpec, match="no column 'Birth Day'; the closest: birth_day; use --map 'Birth Day=birth_"):
        pier.plan("id,Birth Day\n1,monday\n2,tuesday\n")
    with pytest.raises(InvalidSpec, match="no column 'First-Name'; the closest: first"):
        pier.plan("id,First-Name\n1,x\n")
    plan = pier.plan("id,firstname\n1,x\n")
    assert plan.columns[1].target == "firstname", "an exact name is no guess"


def test_a_column_that_the_table_lacks_is_refused_unless_it_is_ignored(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER, city VARCHAR(20))")
    file = "id,town,city\n1,x,Rome\n"
    with pytest.raises(InvalidSpec) as caught:
        pier.plan(file)
    assert caught.value.problem == (
        "table t has no column 'town'; it has 'id', 'city'; use --map town=COLUMN, --ignore town, --ignore-extra for "
        "all columns that the table lacks, or --add-columns to add them"
    )
    pier.imported(file, ignored_columns=("town",))
    extra = pier.plan(file, ignore_extra=True)
    assert "town is not imported: the table has no such column" in extra.notes
    assert "not imported: town" in extra.detected
    assert pier.rows() == [(1, "Rome")]


def test_an_expression_takes_the_place_of_the_column_with_its_name(pier: Pier) -> None:
    wishes = (at(target="Price", expression="price * 2"),)
    assert "not imported: price" in pier.plan("id,price\n1,5\n", columns=wishes).detected
    pier.imported("id,price\n1,5\n", columns=wishes)
    assert pier.rows() == [(1, 10)]
    pier.run(pier.plan("id,price\n2,7\n", columns=wishes), OTHER)
    assert pier.rows() == [(1, 10), (2, 14)]


def test_a_column_whose_place_another_one_has_is_refused(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER, city VARCHAR(20))")
    with pytest.raises(InvalidSpec) as caught:
        pier.plan("id,city,town\n1,Rome,Bonn\n", columns=(at("town", "city"),))
    assert caught.value.problem == (
        "another column goes to column city of table t, so 'city' needs a target of its own; use --map city=COLUMN or "
        "--ignore city"
    )


def test_one_column_fills_several(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER, code VARCHAR(20), short VARCHAR(3))")
    counts = pier.imported(
        "id,code\n1,abcdef\n", columns=(at("code", "code"), at("code", "short", transformations=("truncate:3",)))
    )
    assert counts.inserted == 1
    assert pier.rows() == [(1, "abcdef", "abc")]


async def test_rejects_name_the_column_of_the_file_and_that_of_the_table(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER, age INTEGER NOT NULL, mail VARCHAR(20))")
    wishes = (at("Alter", "age"), at("Post", "mail", transformations=("email",)), at("id", null_words=("0",)))
    counts = pier.imported("id,Alter,Post\n0,x,a@b.de\n2,,a@b.de\n3,5,nobody\n4,7,A@B.DE\n", columns=wishes, **TINY)
    assert (counts.inserted, counts.rejected) == (1, 3)
    assert pier.rows() == [(4, 7, "a@b.de")]
    told = [(each.line, each.column, each.code, each.message) for each in await everything(pier)]
    assert told == [
        (2, "Alter", "NOT_AN_INTEGER", "'x' is not an integer (Alter goes to age)"),
        (3, "Alter", "NOT_NULL", "the target's column age may not be empty (Alter goes to age)"),
        (4, "Post", "NOT_AN_EMAIL", "'nobody' is not an e-mail address (Post goes to mail)"),
    ]


async def test_the_table_rejects_with_the_value_in_the_file(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (code VARCHAR(20) UNIQUE, n INTEGER)")
    wishes = (at("Code", "code", transformations=("upper",)), at(target="n", expression="length(Code)"))
    counts = pier.imported("Code,x\nab,1\nAB,2\n", columns=wishes, ignored_columns=("x",))
    assert (counts.inserted, counts.rejected) == (1, 1)
    (reject,) = await everything(pier)
    assert (reject.line, reject.column) == (3, "Code")


@pytest.mark.parametrize("options", [{}, TINY], ids=["one chunk", "a chunk for each record"])
def test_filtered_records_are_counted_and_not_judged(pier: Pier, options: dict[str, int]) -> None:
    counts = pier.imported(
        "id,city,n\n1,Rome,1\n2,Bonn,x\n3,,3\n4,Rome,4\n", filter="city = 'Rome'", types={"n": "integer"}, **options
    )
    assert (counts.read, counts.inserted, counts.filtered, counts.rejected) == (4, 2, 2, 0)
    assert pier.rows() == [(1, "Rome", 1), (4, "Rome", 4)]


async def test_a_filter_and_a_calculation_that_fail_reject_their_record(pier: Pier) -> None:
    counts = pier.imported(
        "id,n\n1,2\n2,a\n3,0\n4,5\n",
        filter="CAST(n AS INTEGER) >= 0",
        columns=(at(target="q", expression="10 // CAST(n AS INTEGER)"),),
        types={"n": "text"},
    )
    assert (counts.inserted, counts.rejected, counts.filtered) == (2, 2, 0)
    assert pier.rows("id, q") == [(1, 5), (4, 2)]
    bad, zero = await everything(pier)
    assert (bad.line, bad.code, bad.column) == (3, "EXPRESSION_FAILED", "")
    assert bad.message == "the filter fails: Could not convert string 'a' to INT32"
    assert (zero.line, zero.code, zero.column) == (4, "EXPRESSION_FAILED", "q")
    assert zero.message.startswith("the expression of q fails: Division by zero")


@pytest.mark.parametrize("options", [{}, TINY], ids=["one chunk", "a chunk for each record"])
@pytest.mark.parametrize(
    ("window", "ids"),
    [
        ({"skip": 2}, [3, 4, 5, 6]),
        ({"limit": 2}, [1, 2]),
        ({"skip": 2, "limit": 3}, [3, 4, 5]),
        ({"skip": 9}, []),
        ({"limit": 9}, [1, 2, 3, 4, 5, 6]),
        ({"first_line": 3}, [2, 3, 5, 6]),
        ({"last_line": 3}, [1, 2, 4, 5]),
        ({"first_line": 3, "last_line": 3}, [2, 5]),
        ({"skip": 1, "first_line": 3}, [2, 3, 5, 6]),
    ],
)
def test_a_part_of_several_files(pier: Pier, window: dict[str, int], ids: list[int], options: dict[str, int]) -> None:
    plan = pier.plan("id\n1\n2\n3\n", "id\n4\n5\n6\n", **window, **options)
    counts = pier.run(plan)
    assert [id for (id,) in pier.rows()] == ids
    assert counts.inserted == len(ids)
    assert counts.read == counts.inserted + counts.filtered


def test_what_is_behind_the_limit_is_not_read(pier: Pier) -> None:
    plan = pier.plan("id\n1\n2\n3\n", "id\n4\n", limit=2, **TINY)
    assert pier.run(plan).read == 2


def test_a_default_fills_what_is_empty_in_any_way(pier: Pier) -> None:
    pier.imported(
        'id,a,n\n1,"",\n2,,5\n3,-,\n4,  ,7\n5,x,\n',
        columns=(
            at("a", transformations=("trim",), default_value="none", null_words=("-",)),
            at("n", default_value="0"),
        ),
    )
    assert pier.rows() == [(1, "none", 0), (2, "none", 5), (3, "none", 0), (4, "none", 7), (5, "x", 0)]


def test_an_enumeration_gives_the_values(pier: Pier) -> None:
    genders = Enumeration(values={"Male": "1", "Female": "2"}, ignore_case=True)
    plan = pier.plan(
        "id,g\n1,male\n2,FEMALE\n3,\n", columns=(at("g", lookup="gender"),), enumerations={"gender": genders}
    )
    assert str(plan.columns[1].type) == "integer"
    pier.run(plan)
    assert pier.rows() == [(1, 1), (2, 2), (3, None)]


@pytest.mark.parametrize(("default", "rows"), [("9", [(1, 1), (2, 9)]), (None, [(1, 1)])])
async def test_a_label_that_is_not_in_the_enumeration(pier: Pier, default: str | None, rows: list[object]) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER, g INTEGER)")
    enumerations = {"e": Enumeration(values={"a": "1"}, default_value=default)}
    pier.imported("id,g\n1,a\n2,b\n", columns=(at("g", lookup="e"),), enumerations=enumerations)
    assert pier.rows() == rows
    assert [each.message for each in await everything(pier)] == ([] if default else ["'b' is not in the enumeration e"])


def test_variables_are_those_of_the_plan(pier: Pier) -> None:
    wishes = (
        at(target="who", expression="$user"),
        at(target="day", expression="$today"),
        at(target="next", expression="$today + 1"),
        at(target="at", expression="$now"),
        at(target="n", expression="CAST($n AS INTEGER) + id"),
    )
    variables = {"user": "it's me", "today": "2026-02-28", "now": "2026-02-28 10:00:00", "n": "5"}
    pier.imported("id\n1\n", columns=wishes, variables=variables)
    ((_, *values),) = pier.rows()
    assert [*map(text, values)] == ["it's me", "2026-02-28", "2026-03-01", "2026-02-28 10:00:00", "6"]


def test_expressions_see_columns_as_they_are_imported(pier: Pier) -> None:
    pier.imported(
        'price,rate,born,note\n"€ 1.234,50",x,31/12/1990,a\n,,01/02/1991,\n',
        columns=(
            at("price", transformations=("replace:€", "trim")),
            at("note", default_value="none"),
            at(target="double", expression="price * 2"),
            at(target="year", expression="year(born)"),
            at(target="told", expression="note || coalesce(rate, '?')"),
        ),
        ignored_columns=("rate",),
        types={"price": "decimal(10,2):,."},
    )
    rows = [tuple(map(text, row)) for row in pier.rows("double, year, told", "year")]
    assert [(float(double), year, told) for double, year, told in rows[:1]] == [(2469.0, "1990", "ax")]
    assert rows[1] == ("None", "1991", "none?")


def test_a_calculated_column_replaces_one_that_the_table_has(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER, price DECIMAL(10,2), source VARCHAR(20) NOT NULL)")
    counts = pier.imported(
        "id,price\n1,10.00\n2,20.00\n",
        columns=(at(target="price", expression="round(price * 1.19, 2)"), at(target="source", expression="'shop'")),
        ignored_columns=("price",),
    )
    assert counts.inserted == 2
    assert [(id, float(price), source) for id, price, source in pier.rows()] == [(1, 11.9, "shop"), (2, 23.8, "shop")]


def test_columns_without_names_that_no_option_names_go_by_position(pier: Pier) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER, name VARCHAR(20), city VARCHAR(20))")
    plan = pier.plan(
        "1,x,Anna,Rome\n2,y,Bob,Bonn\n",
        columns=(at("column3", "name"),),
        ignored_columns=("column2",),
        csv=CsvFormat(header=Header.ABSENT),
    )
    assert [(each.source, each.target) for each in plan.columns] == [
        ("column1", "id"),
        ("column3", "name"),
        ("column4", "city"),
    ]
    pier.run(plan)
    assert pier.rows() == [(1, "Anna", "Rome"), (2, "Bob", "Bonn")]


@pytest.mark.parametrize("options", [{}, TINY], ids=["one chunk", "a chunk for each record"])
def test_records_are_merged_by_a_mapped_key(pier: Pier, options: dict[str, int]) -> None:
    pier.database.sql("CREATE TABLE t (code VARCHAR(20) PRIMARY KEY, n INTEGER, line INTEGER)")
    pier.database.sql("INSERT INTO t VALUES ('A', 1, 0), ('B', 2, 0)")
    counts = pier.imported(
        "Code,n,x\n a,7,1\nb,2,\nc,3,1\nC ,4,1\n",
        columns=(
            at("Code", "code", transformations=("trim", "upper")),
            at(target="line", expression="lading_line"),
        ),
        ignored_columns=("x",),
        filter="x = 1",
        types={"x": "integer"},
        reconciliation=Reconciliation(key=("code",)),
        **options,
    )
    assert pier.rows() == [("A", 7, 2), ("B", 2, 0), ("C", 4, 5)]
    assert (counts.read, counts.filtered, counts.pending) == (4, 1, 0)


def test_an_empty_file_and_files_without_records(pier: Pier) -> None:
    wishes = (at("a", "b"), at(target="c", expression="lading_line"))
    assert pier.imported("a,x\n", columns=wishes, ignored_columns=("x",), filter="a > ''").read == 0
    assert pier.rows() == []


def test_nothing_is_left_to_import(pier: Pier) -> None:
    with pytest.raises(InvalidSpec, match="all columns are ignored, so nothing is left to import"):
        pier.plan("a\n1\n", ignored_columns=("a",))


@pytest.mark.parametrize(
    ("options", "field", "problem"),
    [
        ({"columns": (at("nme", "n"),)}, "columns[0].source", "in1.csv has no column 'nme'; the closest: 'name'"),
        ({"columns": (at("name", "nme"),)}, "columns", "table t has no column 'nme'; the closest: name"),
        ({"columns": (at("name"), at())}, "columns[1]", "names a source column or has an expression, one of both"),
        ({"columns": (at(expression="1"),)}, "columns[0].target", "is missing: an expression fills a column of the"),
        ({"columns": (at("name", transformations=("up",)),)}, "columns[0].transformations[0]", "'up' is not a transf"),
        ({"columns": (at("name", lookup="x"),)}, "columns[0].lookup", "there is no enumeration 'x'; there are: none"),
        ({"columns": (at("id", default_value="x"),)}, "columns[0].default_value", "'x' is not an integer"),
        ({"columns": (at("id", "name"), at("name", "name"))}, "columns[1].target", "column 'name' is filled twice"),
        ({"ignored_columns": ("nam",)}, "ignored_columns[0]", "in1.csv has no column 'nam'; the closest: 'name'"),
        ({"ignored_columns": ("name",), "columns": (at("name", "id"),)}, "ignored_columns", "column 'name' is ignored"),
        (
            {"filter": "nme = 1"},
            "filter",
            "the filter: the file has no column 'nme'; the closest: name, at character 1",
        ),
        ({"filter": "id +"}, "filter", 'the filter: syntax error at or near "+", at character 4: +'),
        ({"filter": "id"}, "filter", "the filter: it is BIGINT, not a condition: id"),
        ({"filter": "name > ''\n  AND upper(id, 1)"}, "filter", "the filter: No function matches"),
        (
            {"columns": (at(target="id", expression="upper(name, 2)"),), "ignored_columns": ("id",)},
            "columns[0].expression",
            "the expression of id: No function matches the given name and argument types 'upper(VARCHAR, INTEGER_",
        ),
        ({"variables": {"a b": "x"}}, "variables", "'a b' is not a name: use letters, digits and underscores"),
        ({"variables": {"today": "soon"}}, "variables", "$today is a date (YYYY-MM-DD)"),
        ({"first_line": 3, "last_line": 2}, "last_line", "2 is before the first line, 3"),
    ],
)
def test_what_is_refused(pier: Pier, options: dict[str, object], field: str, problem: str) -> None:
    pier.database.sql("CREATE TABLE t (id INTEGER, name VARCHAR(20))")
    with pytest.raises(InvalidSpec) as caught:
        pier.plan("id,name\n1,x\n", **options)
    assert caught.value.field == field
    assert caught.value.problem.startswith(problem)


async def everything(pier: Pier) -> list[Reject]:
    """The rejects of the job."""
    work_dir = pier.transfer.work_dir
    chunks = [chunk for chunk in range(100) if work_dir.rejects(JOB, chunk).exists()]
    return [*(await RejectFiles(work_dir).read(JOB, chunks, size=100)).items]

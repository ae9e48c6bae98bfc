"""The options about columns become a spec."""

from __future__ import annotations

from typing import Any

import pytest

from lading_client.cli.arguments.mapping import BadMapping, MappingOptions
from lading_client.spec import ColumnMapping, Enumeration, File, ImportSpec, Table

SPEC = ImportSpec(files=(File(path="a.csv"),), target=Table(table="t"))


def columns(**options: Any) -> tuple[ColumnMapping, ...]:
    return MappingOptions(**options).applied(SPEC).columns


def test_without_options_the_spec_stays() -> None:
    assert MappingOptions().applied(SPEC) == SPEC


def test_a_name_with_an_equals_sign_is_a_source() -> None:
    assert columns(maps=["a=b=c"]) == (ColumnMapping(source="a=b", target="c"),)


def test_an_expression_may_have_equals_signs() -> None:
    assert columns(sets=["ok=a = 'x'"]) == (ColumnMapping(target="ok", expression="a = 'x'"),)


def test_options_of_one_column_meet_by_its_name_in_the_file_or_in_the_table() -> None:
    found = columns(
        maps=["First Name=name"],
        sets=["label=a"],
        transforms=["First Name=trim,lower", "name=truncate:5", "label=upper", "city=trim"],
        defaults=["name=x=y", "city=Rome"],
        nulls=["city=-", "city=?"],
    )
    assert found == (
        ColumnMapping(
            source="First Name",
            target="name",
            transformations=("trim", "lower", "truncate:5"),
            default_value="x=y",
        ),
        ColumnMapping(target="label", expression="a", transformations=("upper",)),
        ColumnMapping(source="city", transformations=("trim",), default_value="Rome", null_words=("-", "?")),
    )


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        ("trim", ("trim",)),
        ("trim,lower,email", ("trim", "lower", "email")),
        ("replace:,:.", ("replace:,:.",)),
        ("replace:,:.,trim", ("replace:,:.", "trim")),
        ("trim,replace:a:b,truncate:3", ("trim", "replace:a:b", "truncate:3")),
        (r"replace:a\,bcd:x", (r"replace:a\,bcd:x",)),
        ("pad_left:8:,,upper", ("pad_left:8:,", "upper")),
    ],
)
def test_transformations_are_parted_by_commas(given: str, steps: tuple[str, ...]) -> None:
    assert columns(transforms=[f"a={given}"]) == (ColumnMapping(source="a", transformations=steps),)


def test_a_lookup_makes_an_enumeration() -> None:
    spec = MappingOptions(lookups=[r"g=a\,b:1,c:x:y,*:0", "h=a:"]).applied(SPEC)
    assert spec.columns == (ColumnMapping(source="g", lookup="g"), ColumnMapping(source="h", lookup="h"))
    assert spec.enumerations == {
        "g": Enumeration(values={"a,b": "1", "c": "x:y"}, default_value="0"),
        "h": Enumeration(values={"a": ""}),
    }


def test_null_words_of_all_columns_have_no_name() -> None:
    spec = MappingOptions(nulls=["NA", "=", "a=", "=b"]).applied(SPEC)
    assert (spec.null_words, spec.columns) == (("NA", "=", "a=", "=b"), ())


def test_the_other_options_are_taken_as_they_are() -> None:
    spec = MappingOptions(
        ignored=["x"],
        ignore_extra=True,
        filter="a = 1",
        skip=1,
        limit=2,
        first_line=3,
        last_line=4,
        variables=["day=2026-01-31", "q=a=b"],
    ).applied(SPEC)
    assert (spec.ignored_columns, spec.ignore_extra, spec.filter) == (("x",), True, "a = 1")
    assert (spec.skip, spec.limit, spec.first_line, spec.last_line) == (1, 2, 3, 4)
    assert spec.variables == {"day": "2026-01-31", "q": "a=b"}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"maps": ["a"]}, "--map a: write SOURCE=TARGET, as in --map 'First Name=first_name'"),
        ({"maps": ["=a"]}, "--map =a: write SOURCE=TARGET"),
        ({"sets": ["a="]}, "--set a=: write TARGET=EXPRESSION"),
        ({"transforms": ["trim"]}, "--transform trim: write COLUMN=NAME"),
        ({"defaults": ["a"]}, "--default a: write COLUMN=VALUE"),
        ({"lookups": ["a=b"]}, "--lookup a=b: write LABEL:VALUE"),
        ({"variables": ["a"]}, "--var a: write NAME=VALUE"),
    ],
)
def test_a_wrong_option_says_what_to_write(options: dict[str, list[str]], problem: str) -> None:
    with pytest.raises(BadMapping) as caught:
        MappingOptions(**options).applied(SPEC)  # type: ignore[arg-type]
    assert str(caught.value).startswith(problem)

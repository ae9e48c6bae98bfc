"""Every transformation, by examples written by hand."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladingd.data.mapping import transformations
from ladingd.data.mapping.transformations import transformation, transformed

EXAMPLES: list[tuple[str, str, str | None]] = [
    ("trim", "  a b ", "a b"),
    ("trim", "\t\na\r\n", "a"),
    ("trim", "\u00a0a\u2003", "a"),
    ("trim", "   ", None),
    ("trim", "", ""),
    ("trim_left", "  a ", "a "),
    ("trim_right", "  a ", "  a"),
    ("lower", "ÄÖÜ Straße ABC", "äöü straße abc"),
    ("lower", "ABC", "abc"),
    ("upper", "abc é", "ABC É"),
    ("upper", "abc", "ABC"),
    ("capitalise", "jOHN smith", "John smith"),
    ("capitalise", "éCOLE", "École"),
    ("capitalize", "jOHN", "John"),
    ("title", "JOHN-PAUL o'neil", "John-Paul O'Neil"),
    ("title", "émile ZOLA", "Émile Zola"),
    ("collapse_spaces", " a \t b\u00a0\u00a0c\n", "a b c"),
    ("collapse_spaces", "a b", "a b"),
    ("collapse_spaces", "a\tb", "a b"),
    ("remove_spaces", " 1 234\u202f567 ", "1234567"),
    ("remove_controls", "a\x07b\u200bc", "abc"),
    ("digits_only", "A-12/34 b5", "12345"),
    ("digits_only", "1234", "1234"),
    ("digits_only", "none", None),
    ("letters_only", "Ab-1é2", "Abé"),
    ("nfc", "e\u0301", "é"),
    ("nfc", "ﬁ", "ﬁ"),
    ("nfkc", "ﬁ ²", "fi 2"),
    ("strip_accents", "Éàü Ñ e\u0301", "Eau N e"),
    ("strip_accents", "Ø ß ł", "Ø ß ł"),
    ("email", " Bob.Miller@Example.COM ", "bob.miller@example.com"),
    ("email", "mailto:a@b.de", "a@b.de"),
    ("email", "Bob Miller <bob@b.co.uk>", "bob@b.co.uk"),
    ("email", "a+b_c@sub-domain.example", "a+b_c@sub-domain.example"),
    ("email", "müller@bücher.example", "müller@bücher.example"),
    ("phone", "+49 (0)30 1234-567", "+49301234567"),
    ("phone", "0049 30/1234567", "+49301234567"),
    ("phone", "tel:+1.212.555.0199", "+12125550199"),
    ("phone:+49", "030 / 123 45 67", "+49301234567"),
    ("phone:49", "030 1234567", "+49301234567"),
    ("phone:+1", "(212) 555-0199", "+12125550199"),
    ("phone:+49", "+1 212 555 0199", "+12125550199"),
    ("truncate:3", "äöüß", "äöü"),
    ("truncate:3", "ab", "ab"),
    ("pad_left:8:0", "42", "00000042"),
    ("pad_left:4", "é", "   é"),
    ("pad_right:4:.", "ab", "ab.."),
    ("pad_left:2:0", "1234", "1234"),
    ("replace:a:b", "banana", "bbnbnb"),
    ("replace:,:.", "1,5", "1.5"),
    ("replace:x", "axbx", "ab"),
    (r"replace:a\:b:c", "xa:by", "xcy"),
    (r"replace:\\:/", "a\\b", "a/b"),
    (r"replace_regex:^0+", "00120", "120"),
    (r"replace_regex:([0-9]+)-([0-9]+):\\2/\\1", "12-34", "34/12"),
]


@pytest.mark.parametrize(("spelled", "value", "expected"), EXAMPLES)
def test_a_value_becomes(spelled: str, value: str, expected: str | None) -> None:
    column = pa.array([None, value, "x@y.example"])[1:2]
    values, misfits = transformed(column, [transformation(spelled)])
    assert (values.to_pylist(), misfits) == ([expected], {})


def test_every_transformation_has_an_example() -> None:
    assert {spelled.partition(":")[0] for spelled, _, _ in EXAMPLES} == set(transformations._MAKERS)


@pytest.mark.parametrize("spelled", sorted({spelled for spelled, _, _ in EXAMPLES}))
@given(
    texts=st.lists(st.one_of(st.none(), st.text(max_size=8), st.sampled_from([" a ", "É", "a@b.de", "+49301234567"])))
)
def test_the_other_values_of_a_column_do_not_matter(spelled: str, texts: list[str | None]) -> None:
    step = transformation(spelled)
    column = pa.array([None, *texts, None], pa.string())[1:-1]
    together, misfits = transformed(column, [step])
    alone = [transformed(pa.array([text], pa.string()), [step]) for text in texts]
    assert together.to_pylist() == [values[0].as_py() for values, _ in alone]
    assert {row: misfit.code for row, misfit in misfits.items()} == {
        row: misfit.code for row, (_, found) in enumerate(alone) for misfit in found.values()
    }


@pytest.mark.parametrize(
    "value", ["bob", "bob@", "@b.de", "a@b", "a b@c.de", "a@b..de", "a@@b.de", "a.@b.de", "a@b.de,c@d.de"]
)
def test_what_is_no_address_is_refused(value: str) -> None:
    values, misfits = transformed(pa.array(["a@b.de", value]), [transformation("email")])
    assert values.to_pylist() == ["a@b.de", None]
    assert misfits[1].code == "NOT_AN_EMAIL"
    assert misfits[1].message == f"'{value}' is not an e-mail address"


@pytest.mark.parametrize(
    ("spelled", "value"), [("phone", "030 1234567"), ("phone", "+49 30 12x"), ("phone:+49", "112")]
)
def test_what_is_no_phone_number_is_refused(spelled: str, value: str) -> None:
    _, misfits = transformed(pa.array([value]), [transformation(spelled)])
    assert (misfits[0].code, misfits[0].value) == ("NOT_A_PHONE_NUMBER", value)


def test_they_are_done_in_order() -> None:
    steps = [*map(transformation, ("digits_only", "truncate:4", "pad_left:6:0"))]
    assert transformed(pa.array(["a1b2c3d4e5"]), steps)[0].to_pylist() == ["001234"]


def test_the_fault_of_a_later_step_tells_what_the_earlier_ones_made() -> None:
    _, misfits = transformed(pa.array([" BOB "]), [*map(transformation, ("trim", "email"))])
    assert misfits[0].value == "BOB"


@pytest.mark.parametrize(
    ("spelled", "problem"),
    [
        ("trimm", "'trimm' is not a transformation; the closest is trim; all are: capitalise"),
        ("truncate", "'truncate' has 0 arguments: write truncate:20"),
        ("lower:x", "'lower:x' has 1 arguments: write it without arguments"),
        ("truncate:0", "'0' is not a number of characters from 1 to 1,000,000: write truncate:20"),
        ("pad_left:3:ab", "'ab' is not one character: write pad_left:8:0"),
        ("phone:Germany", "'Germany' is not a country code: write phone:+49"),
        ("replace_regex:(", "'(' is not a regular expression"),
        ("replace:", "there is nothing to replace: write replace:old:new"),
    ],
)
def test_a_wrong_one_is_refused(spelled: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        transformation(spelled)

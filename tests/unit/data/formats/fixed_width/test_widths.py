"""How widths are spelled."""

from __future__ import annotations

import pytest

from ladingd.core.errors import InvalidSpec
from ladingd.data.formats.fixed_width.widths import Widths, wanted


def test_widths_with_and_without_names() -> None:
    assert (wanted("10,20,8").names, str(wanted("10,20,8").all)) == ((), "10,20,8")
    assert (wanted(" id = 10 , a=b=20, note=* ").names, str(wanted("a=1,b=*").all)) == (("id", "a=b", "note"), "1,*")
    assert (wanted("").names, wanted("").parts) == ((), ())
    assert wanted("3,~2,a=4".replace("a=", "")).widths == [3, 4]


def test_a_gap_is_shown_with_the_column_before_it() -> None:
    assert Widths.of("3,~2,11,~1,*").shown == "5,12,*"
    assert Widths.of("~1,3,~2,11").shown == "1,5,11"


@pytest.mark.parametrize(
    "spelled",
    [
        "0",
        "-1",
        "x",
        "1,,2",
        "1.5",
        "1,",
        "a=",
        "=5",
        "*,5",
        "a=1,5",
        "²",
        "9999999999",
        "~2",
        "5,~*",
        "99999999,1",
        "~",
    ],
)
def test_what_is_no_width_is_refused(spelled: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        wanted(spelled)
    assert caught.value.field == "fixed_width.widths"

"""Names in snake_case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladingd.data.mapping.snake_case import snake_case, snake_names


@pytest.mark.parametrize(
    ("name", "snake"),
    [
        ("First Name", "first_name"),
        ("firstName", "first_name"),
        ("FirstName", "first_name"),
        ("first-name", "first_name"),
        ("  First  Name  ", "first_name"),
        ("First_Name", "first_name"),
        ("__first__name__", "first_name"),
        ("first.name", "first_name"),
        ("ID", "id"),
        ("customerID", "customer_id"),
        ("HTTPServer", "http_server"),
        ("E-Mail", "e_mail"),
        ("Q1Sales", "q1_sales"),
        ("address2", "address2"),
        ("Straße", "strasse"),
        ("STRAẞE", "strasse"),
        ("Prénom", "prenom"),
        ("Pre\u0301nom", "prenom"),
        ("Ærø Łódź Þór", "aero_lodz_thor"),
        ("Größe (m²)", "grosse_m2"),
        ("ﬁle", "file"),
        ("\uff2e\uff41\uff4d\uff45", "name"),
        ("İstanbul", "istanbul"),
        ("Ηλικία", "ηλικια"),
        ("Имя", "имя"),
        ("名前", "名前"),
        ("2024", "column_2024"),
        ("2024 Total", "column_2024_total"),
        ("½", "column_1_2"),
        ("", "column"),
        ("%", "column"),
        ("a'\"b;c", "a_b_c"),
        ("a\nb\tc", "a_b_c"),
        ("Preis €", "preis"),
    ],
)
def test_names_in_snake_case(name: str, snake: str) -> None:
    assert snake_case(name) == snake


@pytest.mark.parametrize(
    ("names", "snake"),
    [
        (["First Name", "first_name", "FirstName"], ["first_name", "first_name_2", "first_name_3"]),
        (["a", "A", "a_2"], ["a", "a_3", "a_2"]),
        (["a_2", "a", "A"], ["a_2", "a", "a_3"]),
        (["%", "", "1"], ["column", "column_2", "column_1"]),
    ],
)
def test_names_that_become_equal_get_numbers(names: list[str], snake: list[str]) -> None:
    assert snake_names(names) == snake


@given(st.lists(st.text(max_size=8), max_size=8))
def test_names_are_different_and_stay_as_they_are(names: list[str]) -> None:
    snake = snake_names(names)
    assert len(set(snake)) == len(names)
    for name in snake:
        assert name
        assert not name.startswith("_")
        assert not name.endswith("_")
        assert "__" not in name
        assert not name[0].isdigit()
        assert name == name.lower()
    assert snake_names(snake) == snake

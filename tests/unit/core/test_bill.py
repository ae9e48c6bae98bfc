"""The arithmetic of the bill."""

from __future__ import annotations

from dataclasses import asdict, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladingd.core.bill import NUMBERS, Counts

SOME = st.integers(min_value=0, max_value=1 << 62)
COUNTS = st.builds(Counts, **dict.fromkeys(NUMBERS, SOME), nulls=st.dictionaries(st.sampled_from("abc"), SOME))
BALANCED = COUNTS.map(lambda counts: replace(counts, read=counts.accounted))

# read = inserted + updated + deleted + unchanged + rejected + filtered + ignored doubles + empty + pending
PARTS = ("inserted", "updated", "deleted", "unchanged", "rejected", "filtered", "ignored_doubles", "empty", "pending")
BESIDE = ("errors", "warnings", "doubles", "duplicates", "removed")


def test_every_number_is_a_part_of_the_bill_or_beside_it() -> None:
    assert {field.name for field in fields(Counts)} == {"read", *PARTS, *BESIDE, "nulls"}
    assert set(NUMBERS) == {"read", *PARTS, *BESIDE}


@given(COUNTS)
def test_accounted_is_the_sum_of_the_parts(counts: Counts) -> None:
    assert counts.accounted == sum(asdict(counts)[part] for part in PARTS)
    assert counts.balances == (counts.read == counts.accounted)


@given(COUNTS)
def test_success_is_what_the_target_has(counts: Counts) -> None:
    assert counts.success == counts.inserted + counts.updated + counts.deleted + counts.unchanged


@given(COUNTS, COUNTS)
def test_sums_are_made_number_by_number(one: Counts, other: Counts) -> None:
    total = one + other
    assert all(getattr(total, name) == getattr(one, name) + getattr(other, name) for name in NUMBERS)
    assert total.nulls.keys() == one.nulls.keys() | other.nulls.keys()
    assert all(number == one.nulls.get(name, 0) + other.nulls.get(name, 0) for name, number in total.nulls.items())
    assert one + other == other + one
    assert one + Counts() == one


@given(st.lists(BALANCED))
def test_chunks_that_balance_make_a_job_that_balances(chunks: list[Counts]) -> None:
    assert sum(chunks, Counts()).balances


@given(BALANCED, st.sampled_from(("read", *PARTS)))
def test_one_record_too_many_is_an_imbalance(counts: Counts, name: str) -> None:
    assert not replace(counts, **{name: getattr(counts, name) + 1}).balances


@pytest.mark.parametrize("name", BESIDE)
def test_what_is_beside_the_bill_does_not_weigh(name: str) -> None:
    assert replace(Counts(read=1, inserted=1), **{name: 5}).balances

"""Options that the format refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import CsvFormat, Header
from tests.unit.data.formats.json_lines.conftest import planned

if TYPE_CHECKING:
    from tests.unit.data.conftest import Yard


@pytest.mark.parametrize(
    "csv", [CsvFormat(delimiter=";"), CsvFormat(quote="'"), CsvFormat(header=Header.PRESENT)], ids=str
)
def test_options_of_csv_are_refused(yard: Yard, csv: CsvFormat) -> None:
    with pytest.raises(InvalidSpec) as caught:
        planned(yard, '{"id": 1}\n', csv=csv)
    assert caught.value.field.startswith("csv.")
    yard.sql("CREATE TABLE t (id INTEGER)")
    with pytest.raises(InvalidSpec):
        yard.plan_export(path="out.jsonl", csv=csv)

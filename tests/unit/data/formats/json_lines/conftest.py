"""Plans of imports of JSON Lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ladingd.core.spec import ImportSpec, Table

if TYPE_CHECKING:
    from ladingd.core.plan import ImportPlan
    from tests.unit.data.conftest import Yard


def planned(yard: Yard, text: str | bytes, **spec: object) -> ImportPlan:
    plan = yard.transfer.plan(
        ImportSpec(files=(yard.write(text, "in.jsonl"),), target=Table(table="t"), **spec)  # type: ignore[arg-type]
    )
    assert plan.kind == "import"
    return plan

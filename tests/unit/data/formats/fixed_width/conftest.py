"""Plans of imports of fixed width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ladingd.core.spec import FixedWidthFormat, ImportSpec, Table

if TYPE_CHECKING:
    from ladingd.core.plan import ImportPlan
    from tests.unit.data.conftest import Yard


def planned(yard: Yard, text: str | bytes, widths: str = "", *, name: str = "in.txt", **options: Any) -> ImportPlan:
    """The plan of an import. ``options``: those of fixed width, and those of the spec."""
    spec = {key: options.pop(key) for key in ("types", "encoding", "null_words", "chunk_bytes") if key in options}
    plan = yard.transfer.plan(
        ImportSpec(
            files=(yard.write(text, name),),
            target=Table(table="t"),
            file_format="fixed_width",
            fixed_width=FixedWidthFormat(widths=widths, **options),
            **spec,
        )
    )
    assert plan.kind == "import"
    return plan

"""The cases by name. Each takes a workbench and yields its figures; its docstring describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench.cases import (
    api,
    daemon,
    duckdb,
    growth,
    mapping,
    merges,
    postgres,
    refusals,
    service,
    soak,
    sqlite,
    xml,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bench.result import Figure
    from tests.bench.workbench import Workbench

CASES: dict[str, Callable[[Workbench], Iterator[Figure]]] = {
    "postgres-import": postgres.clean,
    "postgres-cold": postgres.cold,
    "json-lines": postgres.json_lines,
    "fixed-width": postgres.fixed_width,
    "parquet": postgres.parquet,
    "excel": postgres.excel,
    "gzip": postgres.gzip,
    "latin1": postgres.latin1,
    "postgres-rejects": postgres.rejects,
    "postgres-violations": postgres.violations,
    "postgres-export": postgres.export,
    "postgres-upsert": merges.upsert,
    "postgres-upsert-dlt": merges.upsert_beside_dlt,
    "postgres-replace": merges.replacement,
    "shapes": postgres.shapes,
    "postgres-refusals": refusals.postgres,
    "sqlite-import": sqlite.clean,
    "sqlite-upsert": sqlite.upsert,
    "sqlite-refusals": refusals.sqlite,
    "sqlite-waiting": refusals.waiting,
    "sqlite-gaps": refusals.gaps,
    "duckdb-import": duckdb.clean,
    "duckdb-upsert": duckdb.upsert,
    "mapping": mapping.mapping,
    "xml": xml.xml,
    "small": sqlite.small,
    "memory": growth.sqlite_memory,
    "ready": daemon.ready,
    "ready-many": service.ready,
    "shutdown": service.shutdown,
    "idle": service.idle,
    "responsive": daemon.responsive,
    "growth": growth.postgres,
    "watch-throughput": api.throughput,
    "watch-crowd": api.crowd,
    "watch-stalled": api.stalled,
    "watch-idle": api.idle,
    "watch-hardship": api.hardship,
    "many-jobs": api.many,
    "soak": soak.soak,
}

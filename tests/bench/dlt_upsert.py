"""Upserts a CSV into PostgreSQL by dlt, as its documentation recommends for speed: Arrow tables and COPY.

``PYTHON dlt_upsert.py FILE URL FOLDER [half]``, with the Python of an environment that has dlt, psycopg2 and pyarrow.
``half``: only the records with an even id, with another amount. dlt keeps its state in FOLDER.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA, TABLE = "dlt_bench", "theirs"
_BLOCK = 64 << 20


def _tables(file: str, *, half: bool) -> Iterator[Any]:
    csv, compute = importlib.import_module("pyarrow.csv"), importlib.import_module("pyarrow.compute")
    arrow = importlib.import_module("pyarrow")
    read = csv.open_csv(
        file,
        read_options=csv.ReadOptions(block_size=_BLOCK),
        convert_options=csv.ConvertOptions(
            column_types={
                "birth_date": arrow.date32(),
                "created_at": arrow.timestamp("us"),
                "amount": arrow.decimal128(12, 2),
            }
        ),
    )
    for batch in read:
        table = arrow.Table.from_batches([batch])
        if half:
            table = table.filter(compute.equal(compute.bit_wise_and(table["id"], 1), 0))
            place = table.schema.get_field_index("amount")
            table = table.set_column(
                place, "amount", compute.add(table["amount"], arrow.scalar(1, arrow.decimal128(12, 2)))
            )
        yield table


def _reachable(url: str) -> str:
    """The URL of a server on a Unix socket as dlt takes it: with a host and a password, which the server ignores."""
    parts = urlsplit(url)
    socket = quote(parse_qs(parts.query)["host"][0], safe="")
    return f"postgresql://{parts.username}:none@{socket}{parts.path}"


def main(file: str, url: str, folder: str, *, half: bool) -> None:
    """Run the pipeline."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    dlt = importlib.import_module("dlt")
    resource = dlt.resource(
        _tables(file, half=half),
        name=TABLE,
        primary_key="id",
        write_disposition={"disposition": "merge", "strategy": "upsert"},
    )
    destination = dlt.destinations.postgres(_reachable(url))
    pipeline = dlt.pipeline("bench", destination=destination, dataset_name=SCHEMA, pipelines_dir=folder)
    pipeline.run(resource, loader_file_format="csv").raise_on_failed_jobs()


if __name__ == "__main__":
    main(*sys.argv[1:4], half="half" in sys.argv[4:])

"""Files as an export writes them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from ladingd.data.formats.format import Writer


def written(writer: Writer, columns: Sequence[pa.Array]) -> bytes:
    """The file with these rows."""
    chunks = io.BytesIO(b"".join([writer.header(), *map(bytes, writer.records(columns))]))
    if writer.appendable:
        return chunks.getvalue() + writer.footer()
    file = io.BytesIO()
    writer.assemble(chunks, file)
    return file.getvalue()

"""Converts the message of a spec, checks its shape, and converts it back."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lading.v1 import spec_pb2
from ladingd.api.messages.reconciliation import reconciliation_from, reconciliation_message
from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import (
    DEFAULT_CHUNK_BYTES,
    DEFAULT_CHUNK_KEYS,
    ColumnMapping,
    ColumnNames,
    CreateTable,
    CsvFormat,
    Enumeration,
    ExcelFormat,
    ExportSpec,
    File,
    FixedWidthFormat,
    Header,
    ImportSpec,
    OnRestart,
    Ragged,
    RejectLimit,
    Table,
    XmlFormat,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ladingd.core.spec import JobSpec

_ON_RESTART = {
    spec_pb2.ON_RESTART_UNSPECIFIED: OnRestart.RESUME,
    spec_pb2.ON_RESTART_RESUME: OnRestart.RESUME,
    spec_pb2.ON_RESTART_STAY: OnRestart.STAY,
}

_ALL = 100
"""All records, in percent."""
_HEADERS = {
    spec_pb2.HEADER_UNSPECIFIED: Header.DEFAULT,
    spec_pb2.HEADER_PRESENT: Header.PRESENT,
    spec_pb2.HEADER_ABSENT: Header.ABSENT,
}

_RAGGED = {
    spec_pb2.RAGGED_UNSPECIFIED: Ragged.REJECT,
    spec_pb2.RAGGED_REJECT: Ragged.REJECT,
    spec_pb2.RAGGED_FILL: Ragged.FILL,
}

_CREATE = {
    spec_pb2.CREATE_TABLE_UNSPECIFIED: CreateTable.AUTO,
    spec_pb2.CREATE_TABLE_AUTO: CreateTable.AUTO,
    spec_pb2.CREATE_TABLE_NEVER: CreateTable.NEVER,
}

_NAMES = {
    spec_pb2.COLUMN_NAMES_UNSPECIFIED: ColumnNames.KEEP,
    spec_pb2.COLUMN_NAMES_KEEP: ColumnNames.KEEP,
    spec_pb2.COLUMN_NAMES_SNAKE: ColumnNames.SNAKE,
}

_SPELLING = {"source": "table"}
"""The API's names of fields that the domain names differently in its InvalidSpec errors."""


@contextmanager
def beneath(path: str) -> Iterator[None]:
    """Put a path before the field of an InvalidSpec, so that each function names only the fields it knows."""
    try:
        yield
    except InvalidSpec as error:
        raise InvalidSpec(f"{path}.{error.field}" if error.field else path, error.problem) from error


@contextmanager
def named_in_request(message: spec_pb2.JobSpec, path: str = "") -> Iterator[None]:
    """Rename the field of an InvalidSpec that the domain raised to its path in the request. ``path``: where the
    request has the spec; empty: where it has a job."""
    kind = message.WhichOneof("kind")
    if kind is None:
        yield
        return
    with beneath(path or f"job.spec.{kind}"):
        try:
            yield
        except InvalidSpec as error:
            first, dot, rest = error.field.partition(".")
            raise InvalidSpec(_SPELLING.get(first, first) + dot + rest, error.problem) from error


def spec_from(message: spec_pb2.JobSpec) -> JobSpec:
    """The spec that a message means. Raises InvalidSpec with the field's path in the request."""
    kind = message.WhichOneof("kind")
    if kind is None:
        raise InvalidSpec("job.spec", "is empty: set import_spec or export_spec")
    with beneath("job.spec"):
        on_restart = _on_restart(message.on_restart)
        with beneath(kind):
            if kind == "import_spec":
                return import_spec_from(message.import_spec, on_restart)
            return _export_spec(message.export_spec, on_restart)


def _on_restart(value: spec_pb2.OnRestart) -> OnRestart:
    if value not in _ON_RESTART:
        raise InvalidSpec("on_restart", f"has no value {int(value)}")
    return _ON_RESTART[value]


def import_spec_from(message: spec_pb2.ImportSpec, on_restart: OnRestart = OnRestart.RESUME) -> ImportSpec:
    """The import that a message means. Raises InvalidSpec with the field's path in the message."""
    if not message.files:
        raise InvalidSpec("files", "names no file to import")
    for name in ("chunk_bytes", "skip", "limit", "first_line", "last_line"):
        if getattr(message, name) < 0:
            raise InvalidSpec(name, "is negative")
    with beneath("reject_limit"):
        reject_limit = _reject_limit(message.reject_limit)
    files = []
    for number, file in enumerate(message.files):
        with beneath(f"files[{number}]"):
            files.append(_file(file))
    with beneath("csv"):
        csv = _csv_format(message.csv)
    with beneath("excel"):
        excel = _excel_format(message.excel)
    with beneath("fixed_width"):
        fixed_width = _fixed_width_format(message.fixed_width)
    with beneath("target"):
        target = table_from(message.target)
    with beneath("reconciliation"):
        reconciliation = reconciliation_from(message.reconciliation)
    return ImportSpec(
        files=tuple(files),
        file_format=message.file_format,
        csv=csv,
        excel=excel,
        fixed_width=fixed_width,
        xml=XmlFormat(record_element=message.xml.record_element),
        target=target,
        types=dict(message.types),
        null_words=tuple(message.null_words),
        encoding=message.encoding,
        member=message.member,
        flatten=message.flatten,
        columns=tuple(map(_column, message.columns)),
        ignored_columns=tuple(message.ignored_columns),
        ignore_extra=message.ignore_extra,
        filter=message.filter,
        skip=message.skip,
        limit=message.limit,
        first_line=message.first_line,
        last_line=message.last_line,
        variables=dict(message.variables),
        enumerations={name: _enumeration(each) for name, each in message.enumerations.items()},
        **_table_options(message),
        reconciliation=reconciliation,
        replace=message.replace,
        where=message.where,
        reject_limit=reject_limit,
        chunk_bytes=message.chunk_bytes or DEFAULT_CHUNK_BYTES,
        on_restart=on_restart,
    )


def _column(message: spec_pb2.ColumnMapping) -> ColumnMapping:
    return ColumnMapping(
        source=message.source,
        target=message.target,
        transformations=tuple(message.transformations),
        default_value=message.default_value if message.HasField("default_value") else None,
        expression=message.expression,
        lookup=message.lookup,
        null_words=tuple(message.null_words),
    )


def _enumeration(message: spec_pb2.Enumeration) -> Enumeration:
    return Enumeration(
        values=dict(message.values),
        default_value=message.default_value if message.HasField("default_value") else None,
        ignore_case=message.ignore_case,
    )


def _table_options(message: spec_pb2.ImportSpec) -> dict[str, Any]:
    """What the job does with the table besides filling it."""
    for name, values in (("create", _CREATE), ("names", _NAMES)):
        if getattr(message, name) not in values:
            raise InvalidSpec(name, f"has no value {int(getattr(message, name))}")
    for name in ("before", "after"):
        for number, text in enumerate(getattr(message, name)):
            if not text.strip():
                raise InvalidSpec(f"{name}[{number}]", "is empty: write the SQL to run")
            if "\0" in text:
                raise InvalidSpec(f"{name}[{number}]", "has a NUL character, which no database takes")
    return {
        "create": _CREATE[message.create],
        "names": _NAMES[message.names],
        "add_columns": message.add_columns,
        "provenance": message.provenance,
        "before": tuple(message.before),
        "after": tuple(message.after),
    }


def _export_spec(message: spec_pb2.ExportSpec, on_restart: OnRestart) -> ExportSpec:
    if message.chunk_keys < 0:
        raise InvalidSpec("chunk_keys", "is negative")
    with beneath("table"):
        source = table_from(message.table)
    with beneath("file"):
        file = _file(message.file)
    with beneath("csv"):
        csv = _csv_format(message.csv)
    with beneath("fixed_width"):
        fixed_width = _fixed_width_format(message.fixed_width)
    return ExportSpec(
        source=source,
        file=file,
        file_format=message.file_format,
        csv=csv,
        fixed_width=fixed_width,
        overwrite=message.overwrite,
        chunk_keys=message.chunk_keys or DEFAULT_CHUNK_KEYS,
        consistent=message.consistent,
        on_restart=on_restart,
    )


def _file(message: spec_pb2.File) -> File:
    if not message.path:
        raise InvalidSpec("path", "is missing")
    return File(root=message.root or "local", path=message.path)


def table_from(message: spec_pb2.Table) -> Table:
    """The table that a message means. Raises InvalidSpec with the field in the message."""
    if not message.table:
        raise InvalidSpec("table", "is missing")
    return Table(connection=message.connection or "local", schema=message.schema, table=message.table)


def _check_text(message: spec_pb2.CsvFormat | spec_pb2.FixedWidthFormat) -> None:
    for name, values in (("header", _HEADERS), ("ragged", _RAGGED)):
        if getattr(message, name) not in values:
            raise InvalidSpec(name, f"has no value {int(getattr(message, name))}")
    if message.skip_lines < 0:
        raise InvalidSpec("skip_lines", "is negative")


def _csv_format(message: spec_pb2.CsvFormat) -> CsvFormat:
    _check_text(message)
    return CsvFormat(
        delimiter=message.delimiter,
        quote=message.quote,
        header=_HEADERS[message.header],
        header_lines=message.header_lines,
        skip_lines=message.skip_lines if message.HasField("skip_lines") else None,
        comment=message.comment,
        escape=message.escape,
        ragged=_RAGGED[message.ragged],
    )


def _fixed_width_format(message: spec_pb2.FixedWidthFormat) -> FixedWidthFormat:
    _check_text(message)
    return FixedWidthFormat(
        widths=message.widths,
        header=_HEADERS[message.header],
        skip_lines=message.skip_lines if message.HasField("skip_lines") else None,
        comment=message.comment,
        ragged=_RAGGED[message.ragged] if message.ragged else None,
    )


def _excel_format(message: spec_pb2.ExcelFormat) -> ExcelFormat:
    if message.header not in _HEADERS:
        raise InvalidSpec("header", f"has no value {int(message.header)}")
    return ExcelFormat(
        sheet=message.sheet,
        range=message.range,
        header=_HEADERS[message.header],
        header_lines=message.header_lines,
    )


def _reject_limit(message: spec_pb2.RejectLimit) -> RejectLimit:
    records = message.records if message.HasField("records") else None
    percent = message.percent if message.HasField("percent") else None
    if records is not None and records < 0:
        raise InvalidSpec("records", "is negative")
    if percent is not None and not 0 <= percent <= _ALL:
        raise InvalidSpec("percent", "is not from 0 to 100")
    return RejectLimit(records=records, percent=percent)


def spec_message(spec: JobSpec) -> spec_pb2.JobSpec:
    on_restart = f"ON_RESTART_{spec.on_restart.name}"
    if isinstance(spec, ImportSpec):
        return spec_pb2.JobSpec(import_spec=_import_message(spec), on_restart=on_restart)
    return spec_pb2.JobSpec(export_spec=_export_message(spec), on_restart=on_restart)


def _import_message(spec: ImportSpec) -> spec_pb2.ImportSpec:
    return spec_pb2.ImportSpec(
        files=[_file_message(file) for file in spec.files],
        file_format=spec.file_format,
        **_format_message(spec),
        target=table_message(spec.target),
        types=spec.types,
        null_words=spec.null_words,
        encoding=spec.encoding,
        member=spec.member,
        flatten=spec.flatten,
        columns=map(_column_message, spec.columns),
        ignored_columns=spec.ignored_columns,
        ignore_extra=spec.ignore_extra,
        filter=spec.filter,
        skip=spec.skip,
        limit=spec.limit,
        first_line=spec.first_line,
        last_line=spec.last_line,
        variables=spec.variables,
        enumerations={name: _enumeration_message(each) for name, each in spec.enumerations.items()},
        create=f"CREATE_TABLE_{spec.create}",
        names=f"COLUMN_NAMES_{spec.names}",
        add_columns=spec.add_columns,
        provenance=spec.provenance,
        before=spec.before,
        after=spec.after,
        reconciliation=reconciliation_message(spec.reconciliation),
        replace=spec.replace,
        where=spec.where,
        reject_limit=spec_pb2.RejectLimit(records=spec.reject_limit.records, percent=spec.reject_limit.percent),
        chunk_bytes=spec.chunk_bytes,
    )


def _column_message(column: ColumnMapping) -> spec_pb2.ColumnMapping:
    return spec_pb2.ColumnMapping(
        source=column.source,
        target=column.target,
        transformations=column.transformations,
        default_value=column.default_value,
        expression=column.expression,
        lookup=column.lookup,
        null_words=column.null_words,
    )


def _enumeration_message(enumeration: Enumeration) -> spec_pb2.Enumeration:
    return spec_pb2.Enumeration(
        values=enumeration.values,
        default_value=enumeration.default_value,
        ignore_case=enumeration.ignore_case,
    )


def _export_message(spec: ExportSpec) -> spec_pb2.ExportSpec:
    return spec_pb2.ExportSpec(
        table=table_message(spec.source),
        file=_file_message(spec.file),
        file_format=spec.file_format,
        **_format_message(spec),
        overwrite=spec.overwrite,
        chunk_keys=spec.chunk_keys,
        consistent=spec.consistent,
    )


def _file_message(file: File) -> spec_pb2.File:
    return spec_pb2.File(root=file.root, path=file.path)


def table_message(table: Table) -> spec_pb2.Table:
    return spec_pb2.Table(connection=table.connection, schema=table.schema, table=table.table)


def _csv_message(csv: CsvFormat) -> spec_pb2.CsvFormat:
    headers = {header: value for value, header in _HEADERS.items()}
    return spec_pb2.CsvFormat(
        delimiter=csv.delimiter,
        quote=csv.quote,
        header=headers[csv.header],
        header_lines=csv.header_lines,
        skip_lines=csv.skip_lines,
        comment=csv.comment,
        escape=csv.escape,
        ragged=spec_pb2.RAGGED_FILL if csv.ragged is Ragged.FILL else spec_pb2.RAGGED_UNSPECIFIED,
    )


def _format_message(spec: ImportSpec | ExportSpec) -> dict[str, Any]:
    """The options of a format: those that are set, else those of CSV."""
    if spec.fixed_width != FixedWidthFormat():
        return {"fixed_width": _fixed_width_message(spec.fixed_width)}
    if isinstance(spec, ExportSpec):
        return {"csv": _csv_message(spec.csv)}
    if spec.excel != ExcelFormat():
        return {"excel": _excel_message(spec.excel)}
    if spec.xml != XmlFormat():
        return {"xml": spec_pb2.XmlFormat(record_element=spec.xml.record_element)}
    return {"csv": _csv_message(spec.csv)}


def _fixed_width_message(fixed: FixedWidthFormat) -> spec_pb2.FixedWidthFormat:
    headers = {header: value for value, header in _HEADERS.items()}
    return spec_pb2.FixedWidthFormat(
        widths=fixed.widths,
        header=headers[fixed.header],
        skip_lines=fixed.skip_lines,
        comment=fixed.comment,
        ragged=f"RAGGED_{fixed.ragged.name if fixed.ragged else 'UNSPECIFIED'}",
    )


def _excel_message(excel: ExcelFormat) -> spec_pb2.ExcelFormat:
    headers = {header: value for value, header in _HEADERS.items()}
    return spec_pb2.ExcelFormat(
        sheet=excel.sheet, range=excel.range, header=headers[excel.header], header_lines=excel.header_lines
    )

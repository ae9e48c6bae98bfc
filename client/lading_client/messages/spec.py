"""Specs as messages of `lading.v1`, both ways."""

from __future__ import annotations

from typing import Any

from lading.v1 import spec_pb2
from lading_client.errors import BadSpec
from lading_client.messages.enums import enum_values
from lading_client.spec import (
    ColumnMapping,
    ColumnNames,
    CreateTable,
    CsvFormat,
    Doubles,
    Duplicates,
    Enumeration,
    ExcelFormat,
    ExportSpec,
    File,
    FixedWidthFormat,
    Header,
    ImportSpec,
    JobSpec,
    OnRestart,
    Operation,
    Ragged,
    Reconciliation,
    RejectLimit,
    Table,
    XmlFormat,
)

_ON_RESTART = enum_values(OnRestart, spec_pb2.OnRestart.DESCRIPTOR, "ON_RESTART_")
_RAGGED = enum_values(Ragged, spec_pb2.Ragged.DESCRIPTOR, "RAGGED_")
_CREATE = enum_values(CreateTable, spec_pb2.CreateTable.DESCRIPTOR, "CREATE_TABLE_")
_NAMES = enum_values(ColumnNames, spec_pb2.ColumnNames.DESCRIPTOR, "COLUMN_NAMES_")
_OPERATIONS = enum_values(Operation, spec_pb2.Operation.DESCRIPTOR, "OPERATION_")
_DOUBLES = enum_values(Doubles, spec_pb2.Doubles.DESCRIPTOR, "DOUBLES_")
_DUPLICATES = enum_values(Duplicates, spec_pb2.Duplicates.DESCRIPTOR, "DUPLICATES_")
_HEADERS = enum_values(Header, spec_pb2.Header.DESCRIPTOR, "HEADER_")


def spec_from(message: spec_pb2.JobSpec) -> JobSpec:
    """A spec from the wire. Raises BadSpec if it is neither an import nor an export."""
    restart = _ON_RESTART.get(message.on_restart, OnRestart.UNSPECIFIED)
    kind = message.WhichOneof("kind")
    if kind == "import_spec":
        return JobSpec(kind=_import(message.import_spec), on_restart=restart)
    if kind == "export_spec":
        return JobSpec(kind=_export(message.export_spec), on_restart=restart)
    raise BadSpec("the spec has neither importSpec nor exportSpec")


def _import(message: spec_pb2.ImportSpec) -> ImportSpec:
    return ImportSpec(
        files=tuple(_file(file) for file in message.files),
        file_format=message.file_format,
        csv=_csv(message.csv),
        excel=_excel(message.excel),
        fixed_width=_fixed_width(message.fixed_width),
        xml=XmlFormat(record_element=message.xml.record_element),
        target=table_from(message.target),
        types=dict(message.types),
        null_words=tuple(message.null_words),
        encoding=message.encoding,
        member=message.member,
        flatten=message.flatten,
        columns=tuple(map(column_from, message.columns)),
        ignored_columns=tuple(message.ignored_columns),
        ignore_extra=message.ignore_extra,
        filter=message.filter,
        skip=message.skip,
        limit=message.limit,
        first_line=message.first_line,
        last_line=message.last_line,
        variables=dict(message.variables),
        enumerations={name: _enumeration(each) for name, each in message.enumerations.items()},
        create=_CREATE.get(message.create, CreateTable.UNSPECIFIED),
        names=_NAMES.get(message.names, ColumnNames.UNSPECIFIED),
        add_columns=message.add_columns,
        provenance=message.provenance,
        before=tuple(message.before),
        after=tuple(message.after),
        reconciliation=_reconciliation(message.reconciliation),
        replace=message.replace,
        where=message.where,
        reject_limit=_reject_limit(message.reject_limit),
        chunk_bytes=message.chunk_bytes,
    )


def column_from(message: spec_pb2.ColumnMapping) -> ColumnMapping:
    """The mapping of a column from the wire."""
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


def _export(message: spec_pb2.ExportSpec) -> ExportSpec:
    return ExportSpec(
        table=table_from(message.table),
        file=_file(message.file),
        file_format=message.file_format,
        csv=_csv(message.csv),
        fixed_width=_fixed_width(message.fixed_width),
        overwrite=message.overwrite,
        chunk_keys=message.chunk_keys,
        consistent=message.consistent,
    )


def _file(message: spec_pb2.File) -> File:
    return File(root=message.root or "local", path=message.path)


def table_from(message: spec_pb2.Table) -> Table:
    """A table from the wire."""
    return Table(connection=message.connection or "local", schema=message.schema, table=message.table)


def _csv(message: spec_pb2.CsvFormat) -> CsvFormat:
    return CsvFormat(
        delimiter=message.delimiter,
        quote=message.quote,
        header=_HEADERS.get(message.header, Header.UNSPECIFIED),
        header_lines=message.header_lines,
        skip_lines=message.skip_lines if message.HasField("skip_lines") else None,
        comment=message.comment,
        escape=message.escape,
        ragged=_RAGGED.get(message.ragged, Ragged.UNSPECIFIED),
    )


def _fixed_width(message: spec_pb2.FixedWidthFormat) -> FixedWidthFormat:
    return FixedWidthFormat(
        widths=message.widths,
        header=_HEADERS.get(message.header, Header.UNSPECIFIED),
        skip_lines=message.skip_lines if message.HasField("skip_lines") else None,
        comment=message.comment,
        ragged=_RAGGED.get(message.ragged, Ragged.UNSPECIFIED),
    )


def _reject_limit(message: spec_pb2.RejectLimit) -> RejectLimit:
    return RejectLimit(
        records=message.records if message.HasField("records") else None,
        percent=message.percent if message.HasField("percent") else None,
    )


def _reconciliation(message: spec_pb2.Reconciliation) -> Reconciliation:
    return Reconciliation(
        operation=_OPERATIONS.get(message.operation, Operation.UNSPECIFIED),
        key=tuple(message.key),
        second_key=tuple(message.second_key),
        doubles=_DOUBLES.get(message.doubles, Doubles.UNSPECIFIED),
        duplicates=_DUPLICATES.get(message.duplicates, Duplicates.UNSPECIFIED),
        keep_if_source_empty=tuple(message.keep_if_source_empty),
        only_if_target_empty=tuple(message.only_if_target_empty),
        on_insert_only=tuple(message.on_insert_only),
    )


def _excel(message: spec_pb2.ExcelFormat) -> ExcelFormat:
    return ExcelFormat(
        sheet=message.sheet,
        range=message.range,
        header=_HEADERS.get(message.header, Header.UNSPECIFIED),
        header_lines=message.header_lines,
    )


def spec_message(value: JobSpec) -> spec_pb2.JobSpec:
    """A spec for the wire."""
    restart = f"ON_RESTART_{value.on_restart}"
    if isinstance(value.kind, ImportSpec):
        return spec_pb2.JobSpec(import_spec=_import_message(value.kind), on_restart=restart)
    return spec_pb2.JobSpec(export_spec=_export_message(value.kind), on_restart=restart)


def _import_message(value: ImportSpec) -> spec_pb2.ImportSpec:
    return spec_pb2.ImportSpec(
        files=[_file_message(file) for file in value.files],
        file_format=value.file_format,
        **_format_message(value),
        target=table_message(value.target),
        types=value.types,
        null_words=value.null_words,
        encoding=value.encoding,
        member=value.member,
        flatten=value.flatten,
        columns=map(_column_message, value.columns),
        ignored_columns=value.ignored_columns,
        ignore_extra=value.ignore_extra,
        filter=value.filter,
        skip=value.skip,
        limit=value.limit,
        first_line=value.first_line,
        last_line=value.last_line,
        variables=value.variables,
        enumerations={name: _enumeration_message(each) for name, each in value.enumerations.items()},
        create=f"CREATE_TABLE_{value.create}",
        names=f"COLUMN_NAMES_{value.names}",
        add_columns=value.add_columns,
        provenance=value.provenance,
        before=value.before,
        after=value.after,
        reconciliation=_reconciliation_message(value.reconciliation),
        replace=value.replace,
        where=value.where,
        reject_limit=spec_pb2.RejectLimit(records=value.reject_limit.records, percent=value.reject_limit.percent),
        chunk_bytes=value.chunk_bytes,
    )


def _column_message(value: ColumnMapping) -> spec_pb2.ColumnMapping:
    return spec_pb2.ColumnMapping(
        source=value.source,
        target=value.target,
        transformations=value.transformations,
        default_value=value.default_value,
        expression=value.expression,
        lookup=value.lookup,
        null_words=value.null_words,
    )


def _enumeration_message(value: Enumeration) -> spec_pb2.Enumeration:
    return spec_pb2.Enumeration(values=value.values, default_value=value.default_value, ignore_case=value.ignore_case)


def _export_message(value: ExportSpec) -> spec_pb2.ExportSpec:
    return spec_pb2.ExportSpec(
        table=table_message(value.table),
        file=_file_message(value.file),
        file_format=value.file_format,
        **_format_message(value),
        overwrite=value.overwrite,
        chunk_keys=value.chunk_keys,
        consistent=value.consistent,
    )


def _file_message(value: File) -> spec_pb2.File:
    return spec_pb2.File(root=value.root, path=value.path)


def table_message(value: Table) -> spec_pb2.Table:
    """A table for the wire."""
    return spec_pb2.Table(connection=value.connection, schema=value.schema, table=value.table)


def _csv_message(value: CsvFormat) -> spec_pb2.CsvFormat:
    return spec_pb2.CsvFormat(
        delimiter=value.delimiter,
        quote=value.quote,
        header=f"HEADER_{value.header}",
        header_lines=value.header_lines,
        skip_lines=value.skip_lines,
        comment=value.comment,
        escape=value.escape,
        ragged=f"RAGGED_{value.ragged}",
    )


def _format_message(value: ImportSpec | ExportSpec) -> dict[str, Any]:
    """The options of a format: those that are set, else those of CSV."""
    if value.fixed_width != FixedWidthFormat():
        return {"fixed_width": _fixed_width_message(value.fixed_width)}
    if isinstance(value, ExportSpec):
        return {"csv": _csv_message(value.csv)}
    if value.excel != ExcelFormat():
        return {"excel": _excel_message(value.excel)}
    if value.xml != XmlFormat():
        return {"xml": spec_pb2.XmlFormat(record_element=value.xml.record_element)}
    return {"csv": _csv_message(value.csv)}


def _fixed_width_message(value: FixedWidthFormat) -> spec_pb2.FixedWidthFormat:
    return spec_pb2.FixedWidthFormat(
        widths=value.widths,
        header=f"HEADER_{value.header}",
        skip_lines=value.skip_lines,
        comment=value.comment,
        ragged=f"RAGGED_{value.ragged}",
    )


def _reconciliation_message(value: Reconciliation) -> spec_pb2.Reconciliation | None:
    if value == Reconciliation():
        return None
    return spec_pb2.Reconciliation(
        operation=f"OPERATION_{value.operation}",
        key=value.key,
        second_key=value.second_key,
        doubles=f"DOUBLES_{value.doubles}",
        duplicates=f"DUPLICATES_{value.duplicates}",
        keep_if_source_empty=value.keep_if_source_empty,
        only_if_target_empty=value.only_if_target_empty,
        on_insert_only=value.on_insert_only,
    )


def _excel_message(value: ExcelFormat) -> spec_pb2.ExcelFormat:
    return spec_pb2.ExcelFormat(
        sheet=value.sheet, range=value.range, header=f"HEADER_{value.header}", header_lines=value.header_lines
    )

"""Converts descriptions of tables, and suggestions how to fill them, to messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lading.v1 import spec_pb2
from lading.v1 import table_service_pb2 as pb
from ladingd.api.messages.spec import table_message

if TYPE_CHECKING:
    from ladingd.core.plan import Column
    from ladingd.core.tables import Suggestion, TableDescription


def description_message(described: TableDescription) -> pb.TableDescription:
    message = pb.TableDescription(table=table_message(described.table), notes=described.notes)
    for column in described.columns:
        message.columns.add(
            name=column.name,
            declared=column.declared,
            type=column.type,
            nullable=column.nullable,
            required=column.required,
            generated=column.generated,
        )
    return message


def suggestion_message(suggestion: Suggestion) -> pb.SuggestMappingResponse:
    message = pb.SuggestMappingResponse(
        unused_source_columns=suggestion.unused_fields,
        unused_target_columns=suggestion.unused_columns,
        notes=suggestion.plan.notes,
    )
    for column in suggestion.plan.columns:
        message.suggestions.add(
            mapping=_mapping(column),
            type=f"{column.type}:{column.notation}" if column.notation else column.type,
            guessed=column.target in suggestion.guessed,
        )
    return message


def _mapping(column: Column) -> spec_pb2.ColumnMapping:
    filled = column.filled
    return spec_pb2.ColumnMapping(
        source="" if filled.expression else column.source,
        target=column.target,
        transformations=filled.transformations,
        default_value=filled.default,
        expression=filled.expression,
        lookup=filled.lookup,
        null_words=filled.null_words,
    )

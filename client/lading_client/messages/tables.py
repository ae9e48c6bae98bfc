"""Messages about tables as objects of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lading_client.messages.spec import column_from, table_from
from lading_client.model import MappingSuggestion, SuggestedMapping, TableColumn, TableDescription

if TYPE_CHECKING:
    from lading.v1 import table_service_pb2


def description(message: table_service_pb2.TableDescription) -> TableDescription:
    """A table as the daemon described it."""
    return TableDescription(
        table=table_from(message.table),
        columns=tuple(
            TableColumn(
                name=each.name,
                declared=each.declared,
                type=each.type,
                nullable=each.nullable,
                required=each.required,
                generated=each.generated,
            )
            for each in message.columns
        ),
        notes=tuple(message.notes),
    )


def suggested(message: table_service_pb2.SuggestMappingResponse) -> SuggestedMapping:
    """A suggestion as the daemon made it."""
    return SuggestedMapping(
        suggestions=tuple(
            MappingSuggestion(mapping=column_from(each.mapping), type=each.type, guessed=each.guessed)
            for each in message.suggestions
        ),
        unused_source_columns=tuple(message.unused_source_columns),
        unused_target_columns=tuple(message.unused_target_columns),
        notes=tuple(message.notes),
    )

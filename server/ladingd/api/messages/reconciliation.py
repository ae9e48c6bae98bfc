"""Converts the message of a reconciliation, and converts it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from lading.v1 import spec_pb2
from ladingd.core.errors import InvalidSpec
from ladingd.core.spec import Doubles, Duplicates, Operation, Reconciliation

if TYPE_CHECKING:
    from enum import StrEnum

    Value = TypeVar("Value", bound=StrEnum)

_UNSPECIFIED = 0


def reconciliation_from(message: spec_pb2.Reconciliation) -> Reconciliation:
    """The reconciliation that a message means. Raises InvalidSpec with the field's path in the message."""
    return Reconciliation(
        operation=_value(Operation, "operation", spec_pb2.Operation, message.operation),
        key=tuple(message.key),
        second_key=tuple(message.second_key),
        doubles=_value(Doubles, "doubles", spec_pb2.Doubles, message.doubles),
        duplicates=_value(Duplicates, "duplicates", spec_pb2.Duplicates, message.duplicates),
        keep_if_source_empty=tuple(message.keep_if_source_empty),
        only_if_target_empty=tuple(message.only_if_target_empty),
        on_insert_only=tuple(message.on_insert_only),
    )


def reconciliation_message(value: Reconciliation) -> spec_pb2.Reconciliation | None:
    """The message; None for the default."""
    if value == Reconciliation():
        return None
    return spec_pb2.Reconciliation(
        operation=_number(spec_pb2.Operation, value.operation),
        key=value.key,
        second_key=value.second_key,
        doubles=_number(spec_pb2.Doubles, value.doubles),
        duplicates=_number(spec_pb2.Duplicates, value.duplicates),
        keep_if_source_empty=value.keep_if_source_empty,
        only_if_target_empty=value.only_if_target_empty,
        on_insert_only=value.on_insert_only,
    )


def _value(kind: type[Value], field: str, spelled: Any, number: int) -> Value:
    """The domain's value of a number on the wire. The names differ by their prefix."""
    if number == _UNSPECIFIED:
        return kind("DEFAULT")
    if number not in spelled.values():
        raise InvalidSpec(field, f"has no value {number}")
    return kind(spelled.Name(number).removeprefix(f"{kind.__name__.upper()}_"))


def _number(spelled: Any, value: StrEnum) -> Any:
    name = "UNSPECIFIED" if value == "DEFAULT" else value
    return spelled.Value(f"{type(value).__name__.upper()}_{name}")

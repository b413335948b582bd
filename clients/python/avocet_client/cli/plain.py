"""Messages as plain values for JSON: the wire's field names, words for enums, numbers for integers of any width."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp


def plain(message: Message) -> dict[str, Any]:
    """Return the message as a dict; a field that is absent is None, an enum's zero too. Times are as RFC 3339 says."""
    return {field.name: _field(message, field) for field in message.DESCRIPTOR.fields}


def _field(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return dict(sorted(value.items()))
    if field.is_repeated:
        return [_value(field, each) for each in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _value(field, value)


def _value(field: Any, value: Any) -> Any:
    if field.enum_type is not None:
        prefix = "".join(f"_{c}" if c.isupper() else c.upper() for c in field.enum_type.name).strip("_") + "_"
        return field.enum_type.values_by_number[value].name.removeprefix(prefix).lower() if value else None
    if isinstance(value, Timestamp):
        return value.ToJsonString()
    return plain(value) if field.message_type is not None else value

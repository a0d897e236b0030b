r"""ML Metadata on PostgreSQL, with a fault of its client mended.

The wheel of ml-metadata 1.21 takes libpq's quoted literal apart and puts it together wrongly where
a value holds a backslash: ` E'a\\'` becomes `'E'a\\'`. At best that is a syntax error, which
every JSON inside JSON runs into; at worst, by its code, what stands before the backslash is run as
SQL. So no backslash reaches it: values hold another character in its place, there and back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf import descriptor, message
from ml_metadata.metadata_store import metadata_store

from audio.errors import UsageError

# Of a private use area of Unicode; it means nothing to anybody.
_STAND_IN = "\U000f005c"


class PostgresqlStore(metadata_store.MetadataStore):
    """A MetadataStore whose strings may hold backslashes."""

    def _call_method(self, method_name: str, request: Any, response: Any) -> None:
        sent = type(request)()
        sent.CopyFrom(request)
        _change_strings(sent, _without_backslash)
        super()._call_method(method_name, sent, response)
        _change_strings(response, _with_backslash)


def _without_backslash(text: str) -> str:
    if _STAND_IN in text:
        raise UsageError(
            "ML Metadata on PostgreSQL: wanted text without the private character U+F005C, which "
            f"stands for backslashes there, got {text[:80]!r}"
        )
    return text.replace("\\", _STAND_IN)


def _with_backslash(text: str) -> str:
    return text.replace(_STAND_IN, "\\")


def _change_strings(found: message.Message, change: Callable[[str], str]) -> None:
    """Changes every string of a message, those of messages in it, and the keys of maps."""
    for field, value in found.ListFields():
        if field.message_type and field.message_type.GetOptions().map_entry:
            _change_map(field.message_type.fields_by_name["value"], value, change)
        elif field.type == descriptor.FieldDescriptor.TYPE_STRING:
            if field.is_repeated:
                value[:] = [change(one) for one in value]
            else:
                setattr(found, field.name, change(value))
        elif field.type == descriptor.FieldDescriptor.TYPE_MESSAGE:
            for one in value if field.is_repeated else (value,):
                _change_strings(one, change)


def _change_map(
    kind: descriptor.FieldDescriptor, values: Any, change: Callable[[str], str]
) -> None:
    for key in list(values):
        if kind.type == descriptor.FieldDescriptor.TYPE_MESSAGE:
            _change_strings(values[key], change)
        elif kind.type == descriptor.FieldDescriptor.TYPE_STRING:
            values[key] = change(values[key])
        if isinstance(key, str) and change(key) != key:
            if kind.type == descriptor.FieldDescriptor.TYPE_MESSAGE:
                values[change(key)].CopyFrom(values[key])
            else:
                values[change(key)] = values[key]
            del values[key]

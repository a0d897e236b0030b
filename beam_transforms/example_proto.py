"""tf.train.Example without TensorFlow, which would add a gigabyte and seconds to each worker.

The message is described to protobuf with the field numbers of TensorFlow's example.proto and
feature.proto. A test compares the bytes with those of TensorFlow's own class.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_MESSAGE = _Field.TYPE_MESSAGE
_PACKAGE = "nocturne.tensorflow"


def serialize_example(values: Mapping[str, bytes | int | float]) -> bytes:
    """Returns a serialized tf.train.Example of single values; equal values give equal bytes."""
    example = _example_class()()
    for name, value in values.items():
        feature = example.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        elif isinstance(value, int):
            feature.int64_list.value.append(value)
        else:
            feature.float_list.value.append(value)
    return bytes(example.SerializeToString(deterministic=True))


def parse_example(record: bytes, name: str) -> bytes:
    """Returns the single bytes value of a feature of a serialized tf.train.Example."""
    value: bytes = _example_class().FromString(record).features.feature[name].bytes_list.value[0]
    return value


@functools.cache
def _example_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="nocturne/example.proto", package=_PACKAGE, syntax="proto3"
    )
    value_types = {
        "BytesList": _Field.TYPE_BYTES,
        "FloatList": _Field.TYPE_FLOAT,
        "Int64List": _Field.TYPE_INT64,
    }
    for name, value_type in value_types.items():
        _add_field(file.message_type.add(name=name), "value", 1, value_type, repeated=True)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (field, name) in enumerate(
        (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")), 1
    ):
        _add_field(feature, field, number, _MESSAGE, of=name).oneof_index = 0
    features = file.message_type.add(name="Features")
    # On the wire, map<string, Feature> is a repeated message with a key and a value.
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    _add_field(entry, "key", 1, _Field.TYPE_STRING)
    _add_field(entry, "value", 2, _MESSAGE, of="Feature")
    _add_field(features, "feature", 1, _MESSAGE, of="Features.FeatureEntry", repeated=True)
    _add_field(file.message_type.add(name="Example"), "features", 1, _MESSAGE, of="Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Example"))


def _add_field(
    message: Any, name: str, number: int, field_type: int, *, of: str = "", repeated: bool = False
) -> Any:
    field = message.field.add(name=name, number=number, type=field_type)
    field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    if of:
        field.type_name = f".{_PACKAGE}.{of}"
    return field

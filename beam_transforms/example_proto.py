"""tf.train.Example without TensorFlow, which would add a gigabyte and seconds to each worker."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

# TensorFlow's feature.proto and example.proto, with their field numbers. A map is a repeated
# message of keys and values. A test compares the bytes with those of TensorFlow's own class.
_FILE = """
name: "nocturne/example.proto" package: "nocturne" syntax: "proto3"
message_type { name: "BytesList"
  field { name: "value" number: 1 type: TYPE_BYTES label: LABEL_REPEATED } }
message_type { name: "FloatList"
  field { name: "value" number: 1 type: TYPE_FLOAT label: LABEL_REPEATED } }
message_type { name: "Int64List"
  field { name: "value" number: 1 type: TYPE_INT64 label: LABEL_REPEATED } }
message_type { name: "Feature" oneof_decl { name: "kind" }
  field { name: "bytes_list" number: 1 type_name: ".nocturne.BytesList" oneof_index: 0 }
  field { name: "float_list" number: 2 type_name: ".nocturne.FloatList" oneof_index: 0 }
  field { name: "int64_list" number: 3 type_name: ".nocturne.Int64List" oneof_index: 0 } }
message_type { name: "Features"
  nested_type { name: "FeatureEntry" options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_STRING }
    field { name: "value" number: 2 type_name: ".nocturne.Feature" } }
  field { name: "feature" number: 1 type_name: ".nocturne.Features.FeatureEntry"
          label: LABEL_REPEATED } }
message_type { name: "Example"
  field { name: "features" number: 1 type_name: ".nocturne.Features" } }
"""


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
    file = text_format.Parse(_FILE, descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("nocturne.Example"))

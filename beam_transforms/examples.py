"""Records: stretches of frames as tf.train.Example, framed as a TFRecord file.

TFRecord framing is written here, not by TensorFlow, because Beam's file systems (gs:// with its
retries, the emulator in tests) take streams and TensorFlow's writer takes paths.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c
import numpy as np

from audio import contract
from audio.config import AudioConfig
from audio.quality import figures
from beam_transforms.example_proto import serialize_example
from beam_transforms.extract import Extracted

_CRC_MASK_DELTA = 0xA282EAD8


def to_records(extracted: Extracted, *, source_uri: str, audio: AudioConfig) -> Iterator[bytes]:
    """Yields a recording as serialised records, one a chunk."""
    first = 0
    for chunk in extracted.chunks:
        values: dict[str, bytes | int | float] = {
            contract.RECORDING_ID: extracted.recording_id.encode(),
            contract.SOURCE_URI: source_uri.encode("utf-8", "surrogateescape"),
            contract.FINGERPRINT: audio.fingerprint.encode(),
            contract.FIRST_FRAME: first,
            contract.N_FRAMES: len(chunk),
            contract.LOG_MEL: chunk.astype("<f2").tobytes(),
            **dataclasses.asdict(figures(chunk.astype(np.float32), audio)),
        }
        yield serialize_example(values)
        first += len(chunk)


def write_tfrecord(file: BinaryIO, record: bytes) -> None:
    """Appends one record to an open TFRecord file.

    References:
      TensorFlow, "TFRecord and tf.train.Example": length, masked crc32c of it, data, masked crc32c.
    """
    length = struct.pack("<Q", len(record))
    file.write(length + _masked_crc(length) + record + _masked_crc(record))


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + _CRC_MASK_DELTA) & 0xFFFFFFFF)

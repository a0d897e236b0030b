"""Records: a tf.train.Example for each chunk of a recording, in TFRecord files.

The TFRecord framing is written here because TensorFlow's writer takes paths, while Beam's file
systems, which retry requests to gs://, give streams.
"""

from __future__ import annotations

import dataclasses
import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c
import numpy as np
import numpy.typing as npt

from audio import contract
from audio.config import AudioConfig
from beam_transforms.example_proto import parse_example, serialize_example
from beam_transforms.extract import ExtractedRecording
from storage import files
from storage.dataset_files import RecordingRow

# Added to each rotated checksum, as TFRecord files have it.
_CRC_MASK_DELTA = 0xA282EAD8


def serialize_recording(
    recording: ExtractedRecording, *, source_uri: str, audio: AudioConfig
) -> Iterator[bytes]:
    """Yields a serialized record for each chunk of a recording."""
    first_frame = 0
    for chunk in recording.chunks:
        values: dict[str, bytes | int | float] = {
            contract.RECORDING_ID: recording.recording_id.encode(),
            contract.SOURCE_URI: source_uri.encode("utf-8", "surrogateescape"),
            contract.FINGERPRINT: audio.fingerprint.encode(),
            contract.FIRST_FRAME: first_frame,
            contract.N_FRAMES: len(chunk.log_mel),
            contract.LOG_MEL: chunk.log_mel.astype("<f2").tobytes(),
            **dataclasses.asdict(chunk.figures),
            **recording.figures,
        }
        yield serialize_example(values)
        first_frame += len(chunk.log_mel)


def read_log_mel(dataset: str, row: RecordingRow, audio: AudioConfig) -> npt.NDArray[np.float16]:
    """Returns a recording's natural-log mel frames from its shard, float16 [n_frames, n_mels]."""
    shard = files.join(dataset, contract.split_folder(row["split"]), row["shard"])
    with files.open_read(shard) as file:
        file.seek(row["offset"])
        records = read_tfrecord(io.BytesIO(file.read(row["n_bytes"])))
        return np.concatenate([log_mel_of(record, audio) for record in records])


def log_mel_of(record: bytes, audio: AudioConfig) -> npt.NDArray[np.float16]:
    """Returns the natural-log mel frames of a serialised record, float16 [n_frames, n_mels]."""
    return np.frombuffer(parse_example(record, contract.LOG_MEL), "<f2").reshape(-1, audio.n_mels)


def write_tfrecord(file: BinaryIO, record: bytes) -> int:
    """Appends a record to an open TFRecord file, and returns the number of bytes written.

    References:
      TensorFlow, "TFRecord and tf.train.Example": length, its checksum, data, its checksum.
    """
    length = struct.pack("<Q", len(record))
    return file.write(length + _masked_crc(length) + record + _masked_crc(record))


def read_tfrecord(file: BinaryIO) -> Iterator[bytes]:
    """Yields the records of an open TFRecord file.

    Raises:
      ValueError: The file ends within a record, or a record is damaged.
    """
    while header := file.read(12):
        length = header[:8]
        if len(header) < 12 or header[8:] != _masked_crc(length):
            raise ValueError("the file is damaged, or is not a TFRecord file")
        record = file.read(struct.unpack("<Q", length)[0])
        if file.read(4) != _masked_crc(record):
            raise ValueError("a record is damaged")
        yield record


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + _CRC_MASK_DELTA) & 0xFFFFFFFF)

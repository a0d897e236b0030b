import io

import numpy as np
import pytest
import tensorflow as tf

from audio import contract
from audio.config import AudioConfig
from audio.quality import measure_frames
from beam_transforms.example_proto import parse_example, serialize_example
from beam_transforms.examples import (
    read_tfrecord,
    serialize_recording,
    write_tfrecord,
)
from beam_transforms.extract import Chunk, ExtractedRecording


def test_serialize_example_gives_the_bytes_of_tensorflow() -> None:
    values: dict[str, bytes | int | float] = {
        "b": b"\x00\xff" * 1000,
        "i": -(2**60),
        "f": 0.1,
        "empty": b"",
        "zero": 0,
    }
    expected = tf.train.Example()
    for name, value in values.items():
        feature = expected.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        elif isinstance(value, int):
            feature.int64_list.value.append(value)
        else:
            feature.float_list.value.append(value)
    assert serialize_example(values) == expected.SerializeToString(deterministic=True)


def test_tensorflow_reads_the_tfrecords(tmp_path) -> None:
    records = [b"", b"one", bytes(range(256)) * 1000]
    buffer = io.BytesIO()
    for record in records:
        write_tfrecord(buffer, record)
    path = tmp_path / "file.tfrecord"
    path.write_bytes(buffer.getvalue())
    assert [record.numpy() for record in tf.data.TFRecordDataset(str(path))] == records


def test_read_tfrecord_reads_the_records_and_detects_damage() -> None:
    buffer = io.BytesIO()
    records = [b"", b"one", bytes(range(256)) * 1000]
    for record in records:
        write_tfrecord(buffer, record)
    content = buffer.getvalue()
    assert list(read_tfrecord(io.BytesIO(content))) == records
    for damaged in (content[:-1], content[:5], content[:-300] + b"!" + content[-299:]):
        with pytest.raises(ValueError, match="damaged"):
            list(read_tfrecord(io.BytesIO(damaged)))


def test_records_have_the_frames_once_and_in_order() -> None:
    audio = AudioConfig(n_mels=8)
    frames = np.random.default_rng(0).normal(-5, 2, (25, 8)).astype(np.float16)
    extracted = ExtractedRecording(
        recording_id="ab" * 32,
        sample_rate=22050,
        n_channels=1,
        figures={contract.DURATION_SECONDS: 0.5, contract.LUFS: -20.25},
        chunks=tuple(
            Chunk(log_mel=part, figures=measure_frames(part.astype(np.float32), audio))
            for part in (frames[:10], frames[10:20], frames[20:])
        ),
    )
    records = [
        tf.train.Example.FromString(record).features.feature
        for record in serialize_recording(extracted, source_uri="/a b", audio=audio)
    ]
    assert [record[contract.FIRST_FRAME].int64_list.value[0] for record in records] == [0, 10, 20]
    assert [record[contract.N_FRAMES].int64_list.value[0] for record in records] == [10, 10, 5]
    stored = b"".join(record[contract.LOG_MEL].bytes_list.value[0] for record in records)
    np.testing.assert_array_equal(np.frombuffer(stored, "<f2").reshape(-1, 8), frames)
    last = records[2]
    serialized = list(serialize_recording(extracted, source_uri="/a b", audio=audio))
    ids = {parse_example(record, contract.RECORDING_ID) for record in serialized}
    assert ids == {b"ab" * 32}
    assert last[contract.RECORDING_ID].bytes_list.value[0] == b"ab" * 32
    assert last[contract.SOURCE_URI].bytes_list.value[0] == b"/a b"
    assert last[contract.FINGERPRINT].bytes_list.value[0].decode() == audio.fingerprint
    assert last[contract.LUFS].float_list.value[0] == -20.25
    expected = measure_frames(frames[20:].astype(np.float32), audio)
    assert last[contract.FLUX].float_list.value[0] == pytest.approx(expected.flux)
    assert set(last) == {
        contract.LEVEL_DB,
        contract.PEAK_DB,
        contract.SILENCE_SHARE,
        contract.FLUX,
        contract.DURATION_SECONDS,
        contract.LUFS,
        contract.FIRST_FRAME,
        contract.N_FRAMES,
        contract.LOG_MEL,
        contract.RECORDING_ID,
        contract.SOURCE_URI,
        contract.FINGERPRINT,
    }

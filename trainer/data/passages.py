"""Passages cut from the middles of recordings, for figures of real music.

A dataset stores a recording in chunks, one record after another. A passage may begin in one chunk
and end in a later one.

  recording |--------------------------------------------------|
  chunks    |1024 frames  |1024 frames  |1024 frames  |rest    |
  middle    |     |--------------------------------------|     |
  passages        |=====primer=|===continuation===|
                          |=====primer=|===continuation===|
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from audio import contract
from audio.errors import InputError
from storage.dataset_files import RecordingRow, read_recordings
from trainer.data.transform_graph import decode_frames
from trainer.data.windows import Dataset

Float32 = npt.NDArray[np.float32]

# Recordings fade in and out, so this share of their length is left out at each end.
_EDGE = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Passage:
    """A stretch of a recording.

    Attributes:
      log_mel: Natural-log mel, float32 [n_frames, n_mels].
      recording_id: Id of the recording.
      uri: Path of the recording when the dataset was prepared.
      first_frame: Frame of the recording at which the passage begins.
    """

    log_mel: Float32
    recording_id: str
    uri: str
    first_frame: int


def passage_frames(dataset: Dataset, split: str, n_frames: int) -> int:
    """Returns the length that passages of a split can have, in frames.

    It is `n_frames` if at least one recording is long enough. Otherwise it is half of the longest
    middle, so that several different passages can be cut from it; 0 if the split is empty.
    """
    longest = max((_middle(row)[1] for row in read_recordings(dataset.path, split)), default=0)
    return n_frames if longest >= n_frames else longest // 2


def cut_passages(
    dataset: Dataset, split: str, *, n_frames: int, count: int, neighbours: int = 1
) -> list[Passage]:
    """Returns passages from the middles of recordings, spread evenly over recordings and time.

    Args:
      dataset: Finished dataset.
      split: Name of the split, `train` or `eval`.
      n_frames: Length of each passage; see passage_frames.
      count: Number of passages. If there is little music, they overlap or are equal.
      neighbours: Number of passages that replace each one, next to each other in the same
        recording: count * neighbours passages are returned.

    Raises:
      InputError: No recording has so long a middle.
    """
    rows = [row for row in read_recordings(dataset.path, split) if _middle(row)[1] >= n_frames]
    if not rows:
        seconds = n_frames / dataset.audio.frames_per_second
        raise InputError(
            f"{dataset.path}: no recording of the {split} split is long enough for a passage of "
            f"{seconds:.1f} s from its middle. Add longer recordings."
        )
    starts: dict[str, list[int]] = {}
    for index, share in collections.Counter(np.arange(count) * len(rows) // count).items():
        first, length = _middle(rows[index])
        room, n_passages = length - n_frames, share * neighbours
        starts[rows[index]["recording_id"]] = [
            first + round(room * (i + 0.5) / n_passages) for i in range(n_passages)
        ]
    passages = {
        recording.recording_id: [
            dataclasses.replace(
                recording,
                log_mel=recording.log_mel[start : start + n_frames].copy(),
                first_frame=start,
            )
            for start in starts[recording.recording_id]
        ]
        for recording in read_whole_recordings(dataset, split, starts)
    }
    return [passage for recording_id in starts for passage in passages[recording_id]]


def read_whole_recordings(
    dataset: Dataset, split: str, ids: Iterable[str] | None = None
) -> Iterator[Passage]:
    """Yields each recording of a split as one passage, with its chunks joined.

    Args:
      dataset: Finished dataset.
      split: Name of the split, `train` or `eval`.
      ids: Ids of the recordings to read; all by default.
    """
    rows = list(read_recordings(dataset.path, split))
    if ids is not None:
        chosen = set(ids)
        rows = [row for row in rows if row["recording_id"] in chosen]
    folder = f"{dataset.path}/{contract.split_folder(split)}"
    for shard in dict.fromkeys(row["shard"] for row in rows):
        in_shard = {row["recording_id"]: row for row in rows if row["shard"] == shard}
        yield from _join_chunks(dataset, f"{folder}/{shard}", in_shard)


def _join_chunks(
    dataset: Dataset, shard: str, rows: Mapping[str, RecordingRow]
) -> Iterator[Passage]:
    spec = {
        contract.LOG_MEL: tf.io.FixedLenFeature([], tf.string),
        contract.RECORDING_ID: tf.io.FixedLenFeature([], tf.string),
    }
    chunks: dict[str, list[Float32]] = {}
    for raw in tf.data.TFRecordDataset(shard):
        record = tf.io.parse_single_example(raw, spec)
        recording_id = record[contract.RECORDING_ID].numpy().decode()
        if recording_id not in rows:
            continue
        frames = decode_frames(record[contract.LOG_MEL][None], n_mels=dataset.audio.n_mels)
        chunks.setdefault(recording_id, []).append(frames.numpy())
        if len(chunks[recording_id]) == rows[recording_id]["n_records"]:
            yield Passage(
                log_mel=np.concatenate(chunks.pop(recording_id)),
                recording_id=recording_id,
                uri=rows[recording_id]["source_uri"],
                first_frame=0,
            )


def _middle(row: RecordingRow) -> tuple[int, int]:
    """Returns the first frame of a recording's middle, and its number of frames."""
    n_frames = row["n_frames"]
    edge = int(n_frames * _EDGE)
    return edge, n_frames - 2 * edge

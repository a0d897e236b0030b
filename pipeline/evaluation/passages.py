"""Passages of real recordings to hold rollouts against: from their middles, as long as is wanted.

A dataset stores a recording in chunks, one record after the other. A passage may begin in one and
end in a later one.

  recording |--------------------------------------------------|
  chunks    |1024 frames  |1024 frames  |1024 frames  |rest    |
  middle    |     |--------------------------------------|     |
  passages        |=====primer=|===continuation===|
                          |=====primer=|===continuation===|
"""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from audio import contract
from audio.errors import InputError
from trainer.data.transform_graph import decode_frames
from trainer.data.windows import Dataset

Float32 = npt.NDArray[np.float32]

# Recordings fade in and out: of each end so much is left out.
_EDGE = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Passage:
    """A stretch of a recording.

    Attributes:
      log_mel: natural-log mel, float32 [n_frames, n_mels].
      recording_id: of the recording.
      uri: where it was found.
      first_frame: of the passage, in the recording.
    """

    log_mel: Float32
    recording_id: str
    uri: str
    first_frame: int


def passage_frames(dataset: Dataset, split: str, wanted: int) -> int:
    """Returns how long passages of a split can be: `wanted`, or less where all are too short.

    Then it is half of the longest middle, so that passages are not all the same one; 0 where the
    split is empty.
    """
    longest = max((_middle(row)[1] for row in _rows(dataset, split)), default=0)
    return wanted if longest >= wanted else longest // 2


def passages(
    dataset: Dataset, split: str, *, n_frames: int, count: int, each: int = 1
) -> list[Passage]:
    """Returns passages from the middles of recordings, evenly spread over them and over each.

    Args:
      dataset: a finished dataset.
      split: of it.
      n_frames: length of each; see passage_frames.
      count: how many; where there is little music they overlap, or are the same.
      each: so many times as many, `each` after one another from the same recording.

    Raises:
      InputError: no recording's middle is so long.
    """
    rows = [row for row in _rows(dataset, split) if _middle(row)[1] >= n_frames]
    if not rows:
        seconds = n_frames / dataset.audio.frames_per_second
        raise InputError(
            f"{dataset.path}: no recording of the {split} split is long enough for a passage of "
            f"{seconds:.1f} s from its middle. Add longer recordings."
        )
    places: dict[str, list[int]] = {}
    for index, share in collections.Counter(np.arange(count) * len(rows) // count).items():
        start, length = _middle(rows[index])
        room = length - n_frames
        places[rows[index]["recording_id"]] = [
            start + round(room * (i + 0.5) / (share * each)) for i in range(share * each)
        ]
    found = {
        one.recording_id: [
            dataclasses.replace(one, log_mel=one.log_mel[at : at + n_frames].copy(), first_frame=at)
            for at in places[one.recording_id]
        ]
        for one in read_recordings(dataset, split, places)
    }
    return [passage for key in places for passage in found[key]]


def read_recordings(
    dataset: Dataset, split: str, ids: Iterable[str] | None = None
) -> Iterator[Passage]:
    """Yields whole recordings of a split, their chunks joined.

    Args:
      dataset: a finished dataset.
      split: of it.
      ids: those to read; all unless given.
    """
    wanted = None if ids is None else set(ids)
    rows = [row for row in _rows(dataset, split) if wanted is None or row["recording_id"] in wanted]
    folder = f"{dataset.path}/{contract.split_folder(split)}"
    for shard in dict.fromkeys(row["shard"] for row in rows):
        here = {row["recording_id"]: row for row in rows if row["shard"] == shard}
        yield from _joined(dataset, f"{folder}/{shard}", here)


def _joined(dataset: Dataset, shard: str, rows: Mapping[str, Any]) -> Iterator[Passage]:
    spec = {
        contract.LOG_MEL: tf.io.FixedLenFeature([], tf.string),
        contract.RECORDING_ID: tf.io.FixedLenFeature([], tf.string),
    }
    pieces: dict[str, list[Float32]] = {}
    for raw in tf.data.TFRecordDataset(shard):
        record = tf.io.parse_single_example(raw, spec)
        key = record[contract.RECORDING_ID].numpy().decode()
        if key not in rows:
            continue
        found = pieces.setdefault(key, [])
        found.append(
            decode_frames(record[contract.LOG_MEL][None], n_mels=dataset.audio.n_mels).numpy()
        )
        if len(found) == rows[key]["n_records"]:
            yield Passage(
                log_mel=np.concatenate(pieces.pop(key)),
                recording_id=key,
                uri=rows[key]["source_uri"],
                first_frame=0,
            )


def _rows(dataset: Dataset, split: str) -> list[dict[str, Any]]:
    """Returns what the dataset says of each recording of a split."""
    with tf.io.gfile.GFile(f"{dataset.path}/{contract.RECORDINGS}") as file:
        rows = [json.loads(line) for line in file.read().splitlines()]
    return [row for row in rows if row["split"] == split]


def _middle(row: Mapping[str, Any]) -> tuple[int, int]:
    """Returns the first frame of a recording's middle, and how many it has."""
    n_frames = int(row["n_frames"])
    edge = int(n_frames * _EDGE)
    return edge, n_frames - 2 * edge

"""Batches of windows, held-out windows and primers, cut from a prepared dataset as it is read.

A dataset stores recordings in chunks: each record holds up to PrepareSettings.chunk_frames
consecutive frames of one recording.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import tensorflow as tf

from audio import contract
from audio.config import AudioConfig
from audio.errors import ConfigMismatchError, IncompleteError, InputError
from storage.dataset_files import read_front_end, read_info, require_dataset
from trainer.data.transform_graph import RAW_FEATURES, decode_frames

# Chunks in the shuffle buffer: 64 MB, at 1024 frames of 128 mel bands in float16.
_SHUFFLE_CHUNKS = 256
# Windows in the shuffle buffer: 32 MB, at 128 frames of 128 mel bands in float16.
_SHUFFLE_WINDOWS = 1024
# Records that are checked at a time when a dataset is opened: 17 MB, at the lengths above.
_CHECKED_RECORDS = 64
# Records of a split that are checked at most, about a day of sound; in larger splits, these are the
# first ones of each shard. `prepare` has checked every record when it wrote it.
_MAX_CHECKED_RECORDS = 4096


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """A finished dataset on disk or in a bucket.

    Attributes:
      path: Its folder.
      audio: The front end that made it.
      info: The content of dataset_info.json.
    """

    path: str
    audio: AudioConfig
    info: dict[str, Any]

    def shards(self, split: str) -> list[str]:
        """Returns the paths of the TFRecord files of a split, sorted."""
        folder = f"{self.path}/{contract.split_folder(split)}"
        names = tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else []
        return sorted(f"{folder}/{name}" for name in names if name.endswith(".tfrecord"))


def open_dataset(path: str) -> Dataset:
    """Opens a dataset and checks that it is complete and made by one front end.

    Raises:
      IncompleteError: The COMPLETED marker is missing, or dataset_info.json or a record is damaged.
      ConfigMismatchError: A record was made by another front end than dataset_info.json names.
    """
    path = path.rstrip("/")
    require_dataset(path)
    dataset = Dataset(path=path, audio=read_front_end(path), info=read_info(path))
    for split in contract.SPLITS:
        _require_one_front_end(dataset, split)
    return dataset


def _require_one_front_end(dataset: Dataset, split: str) -> None:
    spec = {contract.FINGERPRINT: tf.io.FixedLenFeature([], tf.string)}
    shards = dataset.shards(split)
    per_shard = -(-_MAX_CHECKED_RECORDS // max(1, len(shards)))
    records = tf.data.Dataset.from_tensor_slices(tf.constant(shards, tf.string)).flat_map(
        lambda shard: tf.data.TFRecordDataset(shard).take(per_shard)
    )
    records = records.batch(_CHECKED_RECORDS)
    try:
        for batch in records.map(lambda batch: tf.io.parse_example(batch, spec)):
            found = {name.decode() for name in batch[contract.FINGERPRINT].numpy()}
            others = sorted(found - {dataset.audio.fingerprint})
            if others:
                raise ConfigMismatchError(
                    f"{dataset.path}: its {split} split has records of front end {others[0]}, but "
                    f"its {contract.DATASET_INFO} says {dataset.audio.fingerprint}. Prepare it "
                    "again."
                )
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        raise IncompleteError(
            f"{dataset.path}: a record of its {split} split is damaged. Copy the dataset again "
            "from an intact one, or prepare it again."
        ) from error


def _read_features(dataset: Dataset, split: str, types: dict[str, tf.DType]) -> tf.data.Dataset:
    """Yields the features that `types` names of each record of a split, in order."""
    spec = {name: tf.io.FixedLenFeature([], dtype) for name, dtype in types.items()}
    records = tf.data.TFRecordDataset(dataset.shards(split))
    return records.map(lambda record: tf.io.parse_single_example(record, spec))


def read_chunks(dataset: Dataset, split: str) -> tf.data.Dataset:
    """Yields the chunks of a split in order: float32 [n_frames, n_mels]."""
    return _read_features(dataset, split, {contract.LOG_MEL: tf.string}).map(
        lambda record: decode_frames(record[contract.LOG_MEL][None], n_mels=dataset.audio.n_mels)
    )


def training_windows(
    dataset: Dataset,
    *,
    window_frames: int,
    batch_windows: int,
    seed: int,
    part: int = 0,
    anchor_frames: int = 0,
) -> tf.data.Dataset:
    """Yields batches of training windows without end.

    A batch is float32 [batch_windows, anchor_frames + window_frames, n_mels]. The first
    anchor_frames frames of each row are the window's anchor: frames from anywhere in the same
    chunk, which show the style of the music.

    A training run goes through parts 0, 1, 2, ... Each part reads the shards in its own order and
    begins at its own place, so a run can be resumed at any part without reading the parts before
    it. Each pass cuts a chunk at another phase, so windows are spread evenly over time and not over
    files. Equal arguments give equal batches.

    Raises:
      InputError: No chunk of the training split is as long as a window.
    """
    _require_windows(dataset, contract.TRAIN, max(window_frames, anchor_frames))
    n_mels = dataset.audio.n_mels
    rng = np.random.default_rng([seed, part])
    part_seed = int(rng.integers(2**31))
    cut_seed = tf.constant(part_seed, tf.int64)

    # Cuts one chunk, here into two windows; `phase` and the anchors' places are random:
    #
    #   chunk    |0                                                   n_frames|
    #   windows  | phase |window 0           |window 1           | not used   |
    #   anchors                  |anchor 1  |     |anchor 0  |
    def cut(index: tf.Tensor, record: tf.Tensor) -> tf.data.Dataset:
        raw = tf.io.parse_single_example(record, RAW_FEATURES)[contract.LOG_MEL]
        frames = tf.reshape(tf.io.decode_raw(raw, tf.float16), [-1, n_mels])
        n_frames = tf.shape(frames)[0]
        # Any phase that leaves room for a window; a chunk shorter than a window gives none.
        n_phases = tf.clip_by_value(n_frames - window_frames + 1, 1, window_frames)
        phase = tf.random.stateless_uniform(
            [], seed=[cut_seed, index], maxval=n_phases, dtype=tf.int32
        )
        n_windows = (n_frames - phase) // window_frames
        used = frames[phase : phase + n_windows * window_frames]
        windows = tf.reshape(used, [-1, window_frames, n_mels])
        if not anchor_frames:
            return tf.data.Dataset.from_tensor_slices(windows)
        starts = tf.random.stateless_uniform(
            [tf.shape(windows)[0]],
            seed=[index, cut_seed],
            maxval=tf.maximum(n_frames - anchor_frames, 0) + 1,
            dtype=tf.int32,
        )
        rows = starts[:, None] + tf.range(anchor_frames)
        # A chunk shorter than the anchor has no windows, but gather still checks its rows.
        anchors = tf.gather(frames, tf.minimum(rows, n_frames - 1))
        return tf.data.Dataset.from_tensor_slices(tf.concat([anchors, windows], axis=1))

    shards = rng.permutation(dataset.shards(contract.TRAIN))
    n_records = dataset.info["splits"][contract.TRAIN]["records"]
    start = int(rng.integers(max(1, n_records // len(shards))))
    windows = (
        tf.data.Dataset.from_tensor_slices(shards)
        .interleave(tf.data.TFRecordDataset, cycle_length=4)
        .repeat()
        .skip(start)
        .shuffle(_SHUFFLE_CHUNKS, seed=part_seed)
        .enumerate()
        .interleave(cut, cycle_length=16, num_parallel_calls=2, deterministic=True)
        .shuffle(_SHUFFLE_WINDOWS, seed=part_seed)
        .batch(batch_windows, drop_remainder=True)
    )
    return windows.map(lambda batch: tf.cast(batch, tf.float32)).prefetch(4)


def eval_windows(
    dataset: Dataset, *, split: str, window_frames: int, batch_windows: int
) -> tf.data.Dataset:
    """Yields a split once, in order, as windows that do not overlap.

    Returns:
      Batches float32 [up to batch_windows, window_frames, n_mels].

    Raises:
      InputError: No chunk of the split is as long as a window.
    """
    _require_windows(dataset, split, window_frames)

    def cut(frames: tf.Tensor) -> tf.data.Dataset:
        n_windows = tf.shape(frames)[0] // window_frames
        used = frames[: n_windows * window_frames]
        windows = tf.reshape(used, [-1, window_frames, dataset.audio.n_mels])
        return tf.data.Dataset.from_tensor_slices(windows)

    return read_chunks(dataset, split).flat_map(cut).batch(batch_windows).prefetch(2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Primer:
    """Frames that start a rollout.

    Attributes:
      log_mel: Natural-log mel, float32 [n_frames, n_mels].
      source: Where they come from: recording id, first frame and URI, as JSON.
    """

    log_mel: np.ndarray
    source: str


def cut_primers(
    dataset: Dataset, *, n_frames: int, count: int, split: str | None = None
) -> list[Primer]:
    """Returns primers from the middles of chunks, spread evenly over a split.

    Args:
      dataset: Dataset to cut from.
      n_frames: Frames of each primer.
      count: Number of primers; fewer are returned where there are fewer chunks.
      split: Name of the split; by default the eval split, or the train split if no chunk of the
        eval split is long enough.

    Raises:
      InputError: No chunk has n_frames frames.
    """
    if split is None:
        split = contract.EVAL if has_windows(dataset, contract.EVAL, n_frames) else contract.TRAIN
    _require_windows(dataset, split, n_frames, "train.primer_frames")
    types = {
        contract.LOG_MEL: tf.string,
        contract.N_FRAMES: tf.int64,
        contract.FIRST_FRAME: tf.int64,
        contract.RECORDING_ID: tf.string,
        contract.SOURCE_URI: tf.string,
    }
    records = _read_features(dataset, split, types)
    long_enough = [record for record in records if record[contract.N_FRAMES] >= n_frames]
    chosen = np.unique(np.linspace(0, len(long_enough) - 1, count).astype(int))
    return [_cut_primer(long_enough[index], n_frames, dataset.audio.n_mels) for index in chosen]


def _cut_primer(record: dict[str, tf.Tensor], n_frames: int, n_mels: int) -> Primer:
    frames = decode_frames(record[contract.LOG_MEL][None], n_mels=n_mels).numpy()
    start = (len(frames) - n_frames) // 2
    source = {
        "recording_id": record[contract.RECORDING_ID].numpy().decode(),
        "first_frame": int(record[contract.FIRST_FRAME]) + start,
        "uri": record[contract.SOURCE_URI].numpy().decode("utf-8", "backslashreplace"),
    }
    return Primer(log_mel=frames[start : start + n_frames], source=json.dumps(source))


def longest_chunk(dataset: Dataset, split: str) -> int:
    """Returns the number of frames of the longest chunk of a split, 0 if the split is empty."""
    records = _read_features(dataset, split, {contract.N_FRAMES: tf.int64})
    return max((int(record[contract.N_FRAMES]) for record in records), default=0)


def has_windows(dataset: Dataset, split: str, window_frames: int) -> bool:
    """Returns whether any chunk of a split is as long as a window."""
    return longest_chunk(dataset, split) >= window_frames


def _require_windows(
    dataset: Dataset, split: str, n_frames: int, setting: str = "train.window_frames"
) -> None:
    if not has_windows(dataset, split, n_frames):
        seconds = n_frames / dataset.audio.frames_per_second
        raise InputError(
            f"{dataset.path}: no recording of the {split} split is as long as {setting} wants "
            f"({n_frames} frames, {seconds:.1f} s). Add longer recordings, or lower {setting}."
        )

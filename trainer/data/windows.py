"""A prepared dataset as batches of windows, cut when they are read."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import tensorflow as tf

from audio import contract
from audio.config import AudioConfig
from audio.errors import ConfigMismatchError, IncompleteError, InputError
from trainer.data.transform_graph import decode_frames

_SHUFFLE_CHUNKS = 256  # of 1024 frames x 128 mels in float16: 64 MB
_SHUFFLE_WINDOWS = 1024  # of 128 frames: 32 MB


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """A finished dataset on disk.

    Attributes:
      path: its folder.
      audio: the front end that made it.
      info: the content of dataset_info.json.
    """

    path: str
    audio: AudioConfig
    info: dict[str, Any]

    def shards(self, split: str) -> list[str]:
        """Returns the TFRecord files of a split, sorted."""
        pattern = f"{self.path}/{contract.split_folder(split)}/*.tfrecord"
        return sorted(tf.io.gfile.glob(pattern))


def open_dataset(path: str) -> Dataset:
    """Opens a dataset and checks that it is whole and of one front end.

    Raises:
      IncompleteError: it has no COMPLETED marker.
      ConfigMismatchError: a record was made by another front end than the dataset says.
    """
    path = path.rstrip("/")
    if not tf.io.gfile.exists(f"{path}/{contract.COMPLETED}"):
        raise IncompleteError(
            f"{path} is not a finished dataset: {contract.COMPLETED} is missing. Run `nocturne "
            "prepare` again with the same --input and --output; it goes on where it stopped."
        )
    with tf.io.gfile.GFile(f"{path}/{contract.DATASET_INFO}") as file:
        info = json.loads(file.read())
    audio = AudioConfig.from_json(json.dumps(info["audio"]))
    dataset = Dataset(path=path, audio=audio, info=info)
    _check_fingerprint(dataset)
    return dataset


def _check_fingerprint(dataset: Dataset) -> None:
    spec = {contract.FINGERPRINT: tf.io.FixedLenFeature([], tf.string)}
    for record in tf.data.TFRecordDataset(dataset.shards(contract.TRAIN)[:1]).take(1):
        found = tf.io.parse_single_example(record, spec)[contract.FINGERPRINT].numpy().decode()
        if found != dataset.audio.fingerprint:
            raise ConfigMismatchError(
                f"{dataset.path}: its records were made by front end {found}, its "
                f"{contract.DATASET_INFO} says {dataset.audio.fingerprint}. Prepare it again."
            )


def chunks(dataset: Dataset, split: str) -> tf.data.Dataset:
    """Yields the stored stretches of frames of a split in order: float32 [n_frames, n_mels]."""
    spec = {contract.LOG_MEL: tf.io.FixedLenFeature([], tf.string)}

    def decode(record: tf.Tensor) -> tf.Tensor:
        log_mel = tf.io.parse_single_example(record, spec)[contract.LOG_MEL]
        return decode_frames(log_mel[None], n_mels=dataset.audio.n_mels)

    return tf.data.TFRecordDataset(dataset.shards(split)).map(decode)


def training_windows(
    dataset: Dataset,
    *,
    window_frames: int,
    batch_windows: int,
    seed: int,
    part: int = 0,
    anchor_frames: int = 0,
) -> tf.data.Dataset:
    """Yields batches of training windows for ever.

    They are float32 [batch_windows, anchor_frames + window_frames, n_mels]: in front of each window
    a stretch from anywhere in the same stored one, which shows the style of the window.

    A run goes through its parts one after the other; each reads the shards in an order of its own
    and begins at a place of its own, so a run can be taken up at any part without reading what came
    before. Every stored stretch is cut at another phase each time, so windows fall uniformly over
    time, not over files. Equal arguments give equal batches.

    Raises:
      InputError: no stretch of the training split is as long as a window.
    """
    _require_windows(dataset, contract.TRAIN, max(window_frames, anchor_frames))
    spec = {contract.LOG_MEL: tf.io.FixedLenFeature([], tf.string)}
    n_mels = dataset.audio.n_mels
    chance = np.random.default_rng([seed, part])
    draw = int(chance.integers(2**31))

    def cut(index: tf.Tensor, record: tf.Tensor) -> tf.data.Dataset:
        raw = tf.io.parse_single_example(record, spec)[contract.LOG_MEL]
        frames = tf.reshape(tf.io.decode_raw(raw, tf.float16), [-1, n_mels])
        # Any phase that leaves a window; a stretch shorter than a window gives none.
        n_frames = tf.shape(frames)[0]
        phases = tf.clip_by_value(n_frames - window_frames + 1, 1, window_frames)
        phase = tf.random.stateless_uniform(
            [], seed=tf.stack([tf.cast(draw, tf.int64), index]), maxval=phases, dtype=tf.int32
        )
        count = (n_frames - phase) // window_frames
        kept = frames[phase : phase + count * window_frames]
        windows = tf.reshape(kept, [-1, window_frames, n_mels])
        if not anchor_frames:
            return tf.data.Dataset.from_tensor_slices(windows)
        starts = tf.random.stateless_uniform(
            [tf.shape(windows)[0]],
            seed=tf.stack([index, tf.cast(draw, tf.int64)]),
            maxval=tf.maximum(n_frames - anchor_frames, 0) + 1,
            dtype=tf.int32,
        )
        rows = starts[:, None] + tf.range(anchor_frames)
        # A stretch shorter than the anchor has no windows, but is asked for rows all the same.
        anchors = tf.gather(frames, tf.minimum(rows, n_frames - 1))
        return tf.data.Dataset.from_tensor_slices(tf.concat([anchors, windows], axis=1))

    shards = chance.permutation(dataset.shards(contract.TRAIN))
    n_records = dataset.info["splits"][contract.TRAIN]["records"]
    start = int(chance.integers(max(1, n_records // len(shards))))
    windows = (
        tf.data.Dataset.from_tensor_slices(shards)
        .interleave(tf.data.TFRecordDataset, cycle_length=4)
        .repeat()
        .skip(start)
        .shuffle(_SHUFFLE_CHUNKS, seed=draw)
        .enumerate()
        .interleave(cut, cycle_length=16, num_parallel_calls=2, deterministic=True)
        .shuffle(_SHUFFLE_WINDOWS, seed=draw)
        .batch(batch_windows, drop_remainder=True)
    )
    return windows.map(lambda batch: tf.cast(batch, tf.float32)).prefetch(4)


def eval_windows(
    dataset: Dataset, *, split: str, window_frames: int, batch_windows: int
) -> tf.data.Dataset:
    """Yields a split once, as windows that do not overlap, in order.

    Returns:
      Batches float32 [up to batch_windows, window_frames, n_mels].

    Raises:
      InputError: no stretch of the split is as long as a window.
    """
    _require_windows(dataset, split, window_frames)

    def cut(frames: tf.Tensor) -> tf.data.Dataset:
        count = tf.shape(frames)[0] // window_frames
        kept = frames[: count * window_frames]
        windows = tf.reshape(kept, [-1, window_frames, dataset.audio.n_mels])
        return tf.data.Dataset.from_tensor_slices(windows)

    return chunks(dataset, split).flat_map(cut).batch(batch_windows).prefetch(2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Primer:
    """Frames that start a rollout.

    Attributes:
      log_mel: float32 [n_frames, n_mels].
      source: where they are from: recording id, first frame, uri, as JSON.
    """

    log_mel: np.ndarray
    source: str


def primers(
    dataset: Dataset, *, n_frames: int, count: int, split: str | None = None
) -> list[Primer]:
    """Returns stretches from the middle of stored ones, evenly spread over a split.

    Where no split is named it is the eval split, or the train split where that one is empty.

    Raises:
      InputError: no stored stretch has n_frames frames.
    """
    spec = {
        contract.LOG_MEL: tf.io.FixedLenFeature([], tf.string),
        contract.N_FRAMES: tf.io.FixedLenFeature([], tf.int64),
        contract.FIRST_FRAME: tf.io.FixedLenFeature([], tf.int64),
        contract.RECORDING_ID: tf.io.FixedLenFeature([], tf.string),
        contract.SOURCE_URI: tf.io.FixedLenFeature([], tf.string),
    }
    if split is None:
        split = contract.EVAL if has_windows(dataset, contract.EVAL, n_frames) else contract.TRAIN
    _require_windows(dataset, split, n_frames)
    records = tf.data.TFRecordDataset(dataset.shards(split))
    long_enough = [
        record
        for record in records.map(lambda raw: tf.io.parse_single_example(raw, spec))
        if record[contract.N_FRAMES] >= n_frames
    ]
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


def longest_stretch(dataset: Dataset, split: str) -> int:
    """Returns the frames of the longest stored stretch of a split; 0 where it is empty."""
    spec = {contract.N_FRAMES: tf.io.FixedLenFeature([], tf.int64)}
    records = tf.data.TFRecordDataset(dataset.shards(split))
    lengths = records.map(lambda raw: tf.io.parse_single_example(raw, spec)[contract.N_FRAMES])
    return int(max((length.numpy() for length in lengths), default=0))


def has_windows(dataset: Dataset, split: str, window_frames: int) -> bool:
    """Whether any stored stretch of a split is as long as a window."""
    return longest_stretch(dataset, split) >= window_frames


def _require_windows(dataset: Dataset, split: str, window_frames: int) -> None:
    if not has_windows(dataset, split, window_frames):
        seconds = window_frames / dataset.audio.frames_per_second
        raise InputError(
            f"{dataset.path}: no recording of the {split} split is as long as one window "
            f"({window_frames} frames, {seconds:.1f} s). Add longer recordings, or lower "
            "train.window_frames."
        )

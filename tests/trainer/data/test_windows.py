"""Windows, held-out windows and primers against the chunks that they are cut from."""

import itertools
import json
import os
import shutil

import numpy as np
import pytest

from audio import contract
from audio.config import AudioConfig
from audio.errors import ConfigMismatchError, IncompleteError, InputError
from audio.mel import log_mel
from beam_transforms.example_proto import serialize_example
from beam_transforms.examples import write_tfrecord
from tests.support import signals
from trainer.data.windows import (
    Dataset,
    cut_primers,
    eval_windows,
    open_dataset,
    read_chunks,
    training_windows,
)

WINDOW = {"window_frames": 32, "batch_windows": 8}


def first_batches(opened: Dataset, seed: int, count: int = 20) -> np.ndarray:
    batches = training_windows(opened, seed=seed, **WINDOW)
    return np.stack([batch.numpy() for batch in itertools.islice(batches, count)])


def test_read_chunks_returns_what_beam_wrote_to_the_bit(opened) -> None:
    assert opened.audio == AudioConfig(n_mels=32)
    stored = [np.asarray(c) for split in contract.SPLITS for c in read_chunks(opened, split)]
    expected = set()
    for index in range(6):
        frames = log_mel(signals.tune(seconds=8 + index, seed=index), opened.audio)
        for first in range(0, len(frames), 200):
            expected.add(frames[first : first + 200].astype(np.float16).tobytes())
    assert {frames.astype(np.float16).tobytes() for frames in stored} == expected
    assert all(frames.dtype == np.float32 for frames in stored)


def test_training_windows_are_cut_from_the_training_split(opened) -> None:
    stored = [np.asarray(c) for c in read_chunks(opened, contract.TRAIN)]
    known = {frames[at : at + 32].tobytes() for frames in stored for at in range(len(frames))}
    windows = first_batches(opened, seed=0, count=4).reshape(-1, 32, 32)
    assert all(window.tobytes() in known for window in windows)


def test_training_windows_depend_on_the_seed(opened) -> None:
    first = first_batches(opened, seed=0)
    assert first.shape == (20, 8, 32, 32)
    np.testing.assert_array_equal(first, first_batches(opened, seed=0))
    assert not np.array_equal(first, first_batches(opened, seed=1))


def test_training_windows_of_later_passes_start_elsewhere(opened) -> None:
    starts = {window[0].tobytes() for window in first_batches(opened, 0, 60).reshape(-1, 32, 32)}
    in_one_pass = sum(len(np.asarray(c)) // 32 for c in read_chunks(opened, contract.TRAIN))
    assert len(starts) > 2 * in_one_pass


def test_training_windows_start_anywhere_in_a_chunk(opened) -> None:
    """Chunks have 200 frames here: windows of 100 must not only start at 0 and 100."""
    batches = training_windows(opened, window_frames=100, batch_windows=8, seed=0)
    windows = np.concatenate([np.asarray(batch) for batch in batches.take(40)])
    chunk = next(np.asarray(c) for c in read_chunks(opened, contract.TRAIN) if len(c) == 200)
    rows = {frame.tobytes(): row for row, frame in enumerate(chunk)}
    starts = [rows[w[0].tobytes()] for w in windows if w[0].tobytes() in rows]
    assert len(set(starts)) > 10
    assert max(starts) - min(starts) > 60


def test_training_windows_anchor_is_from_anywhere_in_the_same_chunk(opened) -> None:
    batches = training_windows(opened, window_frames=32, anchor_frames=16, batch_windows=8, seed=0)
    places = {}
    for index, chunk in enumerate(read_chunks(opened, contract.TRAIN)):
        frames = np.asarray(chunk)
        for row in range(len(frames)):
            places[frames[row : row + 16].tobytes()] = (index, row)
    windows = np.concatenate([np.asarray(batch) for batch in batches.take(30)])
    assert windows.shape == (240, 48, 32)
    anchors, starts = ([places[w[row : row + 16].tobytes()] for w in windows] for row in (0, 16))
    assert [a[0] for a in anchors] == [s[0] for s in starts]
    distances = [s[1] - a[1] for a, s in zip(anchors, starts, strict=True)]
    assert min(distances) < -50 < 50 < max(distances)
    again = training_windows(opened, window_frames=32, anchor_frames=16, batch_windows=8, seed=0)
    np.testing.assert_array_equal(windows[:8], next(iter(again)))


def test_training_windows_depend_on_the_part(opened) -> None:
    def first(part: int) -> np.ndarray:
        return next(iter(training_windows(opened, seed=0, part=part, **WINDOW))).numpy()

    np.testing.assert_array_equal(first(1), first(1))
    assert not np.array_equal(first(0), first(1))


def test_eval_windows_cover_the_split_once_in_order(opened) -> None:
    batches = eval_windows(opened, split=contract.EVAL, **WINDOW)
    expected = [
        frames[at : at + 32]
        for frames in (np.asarray(c) for c in read_chunks(opened, contract.EVAL))
        for at in range(0, len(frames) - 31, 32)
    ]
    windows = np.concatenate([batch.numpy() for batch in batches])
    np.testing.assert_array_equal(windows, np.stack(expected))


def test_cut_primers_from_the_eval_split(opened) -> None:
    held_out = np.concatenate([np.asarray(c) for c in read_chunks(opened, contract.EVAL)])
    rows = {row.tobytes() for row in held_out}
    primers = cut_primers(opened, n_frames=20, count=3)
    assert 2 <= len(primers) <= 3
    assert all(frame.tobytes() in rows for primer in primers for frame in primer.log_mel)
    assert set(json.loads(primers[0].source)) == {"recording_id", "first_frame", "uri"}


def test_open_dataset_refuses_an_unfinished_dataset(dataset, tmp_path) -> None:
    shutil.copytree(dataset, tmp_path / "copy")
    (tmp_path / "copy" / contract.COMPLETED).unlink()
    with pytest.raises(IncompleteError, match=r"COMPLETED is missing.*nocturne prepare"):
        open_dataset(str(tmp_path / "copy"))


def test_open_dataset_refuses_records_of_another_front_end(dataset, tmp_path) -> None:
    shutil.copytree(dataset, tmp_path / "copy")
    path = tmp_path / "copy" / contract.DATASET_INFO
    info = json.loads(path.read_text())
    info["audio"]["fmin"] = 50.0
    path.write_text(json.dumps(info))
    stored, named = AudioConfig(n_mels=32).fingerprint, AudioConfig(n_mels=32, fmin=50).fingerprint
    with pytest.raises(ConfigMismatchError, match=f"{stored}.*{named}"):
        open_dataset(str(tmp_path / "copy"))


@pytest.mark.parametrize("split", contract.SPLITS)
def test_open_dataset_refuses_a_mixture_of_front_ends(dataset, tmp_path, split: str) -> None:
    """Only the last record is of another front end; then it is cut short."""
    shutil.copytree(dataset, tmp_path / "copy")
    (shard,) = (tmp_path / "copy" / contract.split_folder(split)).iterdir()
    other = serialize_example({contract.FINGERPRINT: b"0123456789ab"})
    with shard.open("ab") as file:
        write_tfrecord(file, other)
    with pytest.raises(ConfigMismatchError, match=f"{split} split has records of front end 0123"):
        open_dataset(str(tmp_path / "copy"))
    os.truncate(shard, shard.stat().st_size - 1)
    with pytest.raises(IncompleteError, match=f"a record of its {split} split is damaged"):
        open_dataset(str(tmp_path / "copy"))


def test_training_windows_refuses_a_window_longer_than_every_chunk(opened) -> None:
    with pytest.raises(InputError, match=r"201 frames, 4\.7 s.*train\.window_frames"):
        training_windows(opened, window_frames=201, batch_windows=1, seed=0)

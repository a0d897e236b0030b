import itertools
import json
import shutil

import numpy as np
import pytest

from audio import contract
from audio.config import AudioConfig
from audio.errors import ConfigMismatchError, IncompleteError, InputError
from audio.mel import log_mel
from tests.support import signals
from trainer.data.windows import (
    cut_primers,
    eval_windows,
    open_dataset,
    read_chunks,
    training_windows,
)

WINDOW = {"window_frames": 32, "batch_windows": 8}


def some_batches(dataset, seed: int, count: int = 20) -> np.ndarray:
    batches = training_windows(open_dataset(str(dataset)), seed=seed, **WINDOW)
    return np.stack([batch.numpy() for batch in itertools.islice(batches, count)])


def test_what_beam_wrote_is_read_to_the_bit(dataset) -> None:
    opened = open_dataset(str(dataset))
    assert opened.audio == AudioConfig(n_mels=32)
    stored = [np.asarray(c) for split in contract.SPLITS for c in read_chunks(opened, split)]
    found = {frames.astype(np.float16).tobytes() for frames in stored}
    expected = set()
    for index in range(6):
        frames = log_mel(signals.tune(seconds=8 + index, seed=index), opened.audio)
        for first in range(0, len(frames), 200):
            expected.add(frames[first : first + 200].astype(np.float16).tobytes())
    assert found == expected
    assert all(frames.dtype == np.float32 for frames in stored)


def test_windows_are_stretches_of_the_training_split(dataset) -> None:
    opened = open_dataset(str(dataset))
    stored = [np.asarray(c) for c in read_chunks(opened, contract.TRAIN)]
    known = {frames[at : at + 32].tobytes() for frames in stored for at in range(len(frames))}
    windows = some_batches(dataset, seed=0, count=4).reshape(-1, 32, 32)
    assert all(window.tobytes() in known for window in windows)


def test_a_seed_repeats_the_windows_and_another_does_not(dataset) -> None:
    first = some_batches(dataset, seed=0)
    assert first.shape == (20, 8, 32, 32)
    np.testing.assert_array_equal(first, some_batches(dataset, seed=0))
    assert not np.array_equal(first, some_batches(dataset, seed=1))


def test_later_passes_cut_at_other_places(dataset) -> None:
    starts = {window[0].tobytes() for window in some_batches(dataset, 0, 60).reshape(-1, 32, 32)}
    opened = open_dataset(str(dataset))
    in_one_pass = sum(len(np.asarray(c)) // 32 for c in read_chunks(opened, contract.TRAIN))
    assert len(starts) > 2 * in_one_pass


def test_windows_begin_anywhere_in_a_stretch(dataset) -> None:
    """Stretches are 200 frames here: windows of 100 must not only stand at 0 and 100."""
    opened = open_dataset(str(dataset))
    batches = training_windows(opened, window_frames=100, batch_windows=8, seed=0)
    windows = np.concatenate([np.asarray(batch) for batch in batches.take(40)])
    stretch = next(np.asarray(c) for c in read_chunks(opened, contract.TRAIN) if len(c) == 200)
    first = {frame.tobytes(): at for at, frame in enumerate(stretch)}
    starts = [first[w[0].tobytes()] for w in windows if w[0].tobytes() in first]
    assert len(set(starts)) > 10
    assert max(starts) - min(starts) > 60


def test_the_anchor_of_a_window_is_from_anywhere_in_the_same_stretch(dataset) -> None:
    opened = open_dataset(str(dataset))
    batches = training_windows(opened, window_frames=32, anchor_frames=16, batch_windows=8, seed=0)
    where = {}
    for index, stretch in enumerate(read_chunks(opened, contract.TRAIN)):
        frames = np.asarray(stretch)
        for at in range(len(frames)):
            where[frames[at : at + 16].tobytes()] = (index, at)
    windows = np.concatenate([np.asarray(batch) for batch in batches.take(30)])
    assert windows.shape == (240, 48, 32)
    anchors, starts = ([where[w[at : at + 16].tobytes()] for w in windows] for at in (0, 16))
    assert [a[0] for a in anchors] == [s[0] for s in starts]
    apart = [s[1] - a[1] for a, s in zip(anchors, starts, strict=True)]
    assert min(apart) < -50 < 50 < max(apart)
    again = training_windows(opened, window_frames=32, anchor_frames=16, batch_windows=8, seed=0)
    np.testing.assert_array_equal(windows[:8], next(iter(again)))


def test_each_part_of_a_run_has_windows_of_its_own(dataset) -> None:
    opened = open_dataset(str(dataset))

    def first(part: int) -> np.ndarray:
        return next(iter(training_windows(opened, seed=0, part=part, **WINDOW))).numpy()

    np.testing.assert_array_equal(first(1), first(1))
    assert not np.array_equal(first(0), first(1))


def test_eval_windows_cover_the_split_once_in_order(dataset) -> None:
    opened = open_dataset(str(dataset))
    found = np.concatenate(
        [batch.numpy() for batch in eval_windows(opened, split=contract.EVAL, **WINDOW)]
    )
    expected = [
        frames[at : at + 32]
        for frames in (np.asarray(c) for c in read_chunks(opened, contract.EVAL))
        for at in range(0, len(frames) - 31, 32)
    ]
    np.testing.assert_array_equal(found, np.stack(expected))


def test_primers_are_from_the_eval_split(dataset) -> None:
    opened = open_dataset(str(dataset))
    held_out = np.concatenate([np.asarray(c) for c in read_chunks(opened, contract.EVAL)])
    rows = {row.tobytes() for row in held_out}
    found = cut_primers(opened, n_frames=20, count=3)
    assert 2 <= len(found) <= 3
    assert all(frame.tobytes() in rows for primer in found for frame in primer.log_mel)
    assert set(json.loads(found[0].source)) == {"recording_id", "first_frame", "uri"}


def test_an_unfinished_dataset_is_refused(dataset, tmp_path) -> None:
    shutil.copytree(dataset, tmp_path / "copy")
    (tmp_path / "copy" / contract.COMPLETED).unlink()
    with pytest.raises(IncompleteError, match=r"COMPLETED is missing.*nocturne prepare"):
        open_dataset(str(tmp_path / "copy"))


def test_records_of_another_front_end_are_refused(dataset, tmp_path) -> None:
    shutil.copytree(dataset, tmp_path / "copy")
    path = tmp_path / "copy" / contract.DATASET_INFO
    info = json.loads(path.read_text())
    info["audio"]["fmin"] = 50.0
    path.write_text(json.dumps(info))
    wanted, found = AudioConfig(n_mels=32, fmin=50).fingerprint, AudioConfig(n_mels=32).fingerprint
    with pytest.raises(ConfigMismatchError, match=f"{found}.*{wanted}"):
        open_dataset(str(tmp_path / "copy"))


def test_a_window_longer_than_every_stretch_is_refused(dataset) -> None:
    with pytest.raises(InputError, match=r"201 frames, 4\.7 s.*train\.window_frames"):
        training_windows(open_dataset(str(dataset)), window_frames=201, batch_windows=1, seed=0)

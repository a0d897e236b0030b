"""Passages are joined from chunks, cut from the middle, and spread evenly."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from audio import contract
from audio.config import AudioConfig
from audio.errors import InputError
from audio.mel import log_mel
from storage.dataset_files import read_recordings
from tests.support import prepared, signals
from trainer.data.passages import cut_passages, passage_frames, read_whole_recordings
from trainer.data.windows import Dataset, open_dataset

SECONDS = (6, 8, 10, 12)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    """Four recordings in chunks of 100 frames, three of them to learn from."""
    folder = tmp_path_factory.mktemp("passages")
    for index, seconds in enumerate(SECONDS):
        samples = signals.tune(seconds=seconds, seed=index)
        signals.write(folder / "in" / f"{index}.wav", samples, subtype="FLOAT")
    prepared.run(folder / "in", folder / "data")
    return open_dataset(str(folder / "data"))


def frames_of(uri: str) -> np.ndarray:
    index = int(pathlib.Path(uri).stem)
    samples = signals.tune(seconds=SECONDS[index], seed=index)
    return log_mel(samples, AudioConfig(n_mels=32)).astype(np.float16).astype(np.float32)


def test_recordings_are_whole_again(dataset) -> None:
    recordings = list(read_whole_recordings(dataset, contract.TRAIN))
    assert len(recordings) == 3
    for recording in recordings:
        assert len(recording.log_mel) > 200, "more than two chunks"
        np.testing.assert_allclose(recording.log_mel, frames_of(recording.uri), atol=0.02)
    (second,) = read_whole_recordings(dataset, contract.TRAIN, [recordings[1].recording_id])
    assert second.uri == recordings[1].uri


def test_passages_are_longer_than_a_chunk_and_stay_off_the_ends(dataset) -> None:
    passages = cut_passages(dataset, contract.TRAIN, n_frames=180, count=9)
    assert len(passages) == 9
    for passage in passages:
        whole = frames_of(passage.uri)
        edge = int(len(whole) * 0.1)
        assert edge <= passage.first_frame <= len(whole) - edge - 180
        expected = whole[passage.first_frame : passage.first_frame + 180]
        np.testing.assert_allclose(passage.log_mel, expected, atol=0.02)


def test_passages_are_shared_out_evenly(dataset) -> None:
    passages = cut_passages(dataset, contract.TRAIN, n_frames=100, count=6, neighbours=2)
    by_recording: dict[str, list[int]] = {}
    for passage in passages:
        by_recording.setdefault(passage.recording_id, []).append(passage.first_frame)
    assert [len(places) for places in by_recording.values()] == [4, 4, 4]
    for places in by_recording.values():
        steps = np.diff(places)
        assert steps.min() > 0
        assert steps.max() - steps.min() <= 1


def test_where_all_are_too_short_passages_are_half_as_long_as_the_longest(dataset) -> None:
    longest = max(row["n_frames"] for row in read_recordings(dataset.path, contract.TRAIN))
    middle = longest - 2 * int(longest * 0.1)
    assert passage_frames(dataset, contract.TRAIN, middle) == middle
    assert passage_frames(dataset, contract.TRAIN, middle + 1) == middle // 2
    with pytest.raises(InputError, match="long enough"):
        cut_passages(dataset, contract.TRAIN, n_frames=middle + 1, count=2)

"""Passages: joined from chunks, out of the middle, spread evenly."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

from audio import contract
from audio.config import AudioConfig
from audio.errors import InputError
from audio.mel import log_mel
from pipeline.evaluation.passages import passage_frames, passages, read_recordings
from tests.support import prepared, signals
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
    found = list(read_recordings(dataset, contract.TRAIN))
    assert len(found) == 3
    for one in found:
        assert len(one.log_mel) > 200, "more than two chunks"
        np.testing.assert_allclose(one.log_mel, frames_of(one.uri), atol=0.02)
    (alone,) = read_recordings(dataset, contract.TRAIN, [found[1].recording_id])
    assert alone.uri == found[1].uri


def test_passages_are_longer_than_a_chunk_and_stay_off_the_ends(dataset) -> None:
    found = passages(dataset, contract.TRAIN, n_frames=180, count=9)
    assert len(found) == 9
    for one in found:
        whole = frames_of(one.uri)
        edge = int(len(whole) * 0.1)
        assert edge <= one.first_frame <= len(whole) - edge - 180
        expected = whole[one.first_frame : one.first_frame + 180]
        np.testing.assert_allclose(one.log_mel, expected, atol=0.02)


def test_passages_are_shared_out_evenly(dataset) -> None:
    found = passages(dataset, contract.TRAIN, n_frames=100, count=6, each=2)
    by_recording: dict[str, list[int]] = {}
    for one in found:
        by_recording.setdefault(one.recording_id, []).append(one.first_frame)
    assert [len(places) for places in by_recording.values()] == [4, 4, 4]
    for places in by_recording.values():
        steps = np.diff(places)
        assert steps.min() > 0
        assert steps.max() - steps.min() <= 1


def test_where_all_are_too_short_passages_are_half_as_long_as_the_longest(dataset) -> None:
    rows = (pathlib.Path(dataset.path) / contract.RECORDINGS).read_text().splitlines()
    longest = max(
        json.loads(row)["n_frames"] for row in rows if json.loads(row)["split"] == contract.TRAIN
    )
    middle = longest - 2 * int(longest * 0.1)
    assert passage_frames(dataset, contract.TRAIN, middle) == middle
    assert passage_frames(dataset, contract.TRAIN, middle + 1) == middle // 2
    with pytest.raises(InputError, match="long enough"):
        passages(dataset, contract.TRAIN, n_frames=middle + 1, count=2)

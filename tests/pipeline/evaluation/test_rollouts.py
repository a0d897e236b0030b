"""What rollouts are compared with: whose, from where, and how long."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

from audio import contract
from audio.errors import InputError
from pipeline.evaluation.rollouts import Listening, listen
from tests.support.standin import PRIMER_FRAMES, stand_in
from trainer.data.windows import Dataset, open_dataset


@pytest.fixture(scope="module")
def data(dataset) -> Dataset:
    return open_dataset(str(dataset))


def noisy(primer: np.ndarray, n_frames: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.resize(primer, (n_frames, primer.shape[1])) + rng.normal(size=(n_frames, 1))


def heard(
    data: Dataset, play=noisy, seconds: float = 2, seed: int = 0, rollouts: int = 5
) -> Listening:
    model = stand_in(data, play)
    return listen(model, data, rollouts=rollouts, seconds=seconds, seed=seed)


def test_each_rollout_has_its_primer_and_what_came_after(data) -> None:
    found = heard(data)
    n_frames = data.audio.frames_for(2)
    assert found.made.frames.shape == found.real.frames.shape == (5, n_frames, 32)
    for primer, real in zip(found.primers, found.real.frames, strict=True):
        np.testing.assert_array_equal(primer.log_mel[PRIMER_FRAMES:], real)
    # After the same primer with another seed.
    apart = found.made.frames - found.again.frames
    assert np.abs(apart).min(axis=(1, 2)).max() > 0
    assert apart.std(axis=2).max() == pytest.approx(0, abs=1e-4)


def test_real_music_is_of_the_split_that_it_should_be(data) -> None:
    rows = [
        json.loads(row)
        for row in pathlib.Path(data.path, contract.RECORDINGS).read_text().splitlines()
    ]
    held_out = {row["recording_id"] for row in rows if row["split"] == contract.EVAL}
    found = heard(data)
    assert {one.recording_id for one in found.primers} == held_out
    assert len(found.others.frames) == 15
    # A neighbour is no primer's own continuation.
    apart = np.abs(found.real.frames - found.neighbours.frames).mean(axis=(1, 2))
    assert apart.min() > 0.3


def test_what_is_continued_twice_is_of_all_recordings(data) -> None:
    """Primers of a recording follow one another: the first few alone would be of one."""
    found = heard(data, seconds=0.5, rollouts=24)
    twice = {found.primers[index].recording_id for index in found.again_of}
    assert twice == {one.recording_id for one in found.primers}
    assert len(twice) > 1
    assert len(found.again.frames) == len(found.again_of) == 8


def test_the_same_seed_gives_the_same_and_another_does_not(data) -> None:
    first, same, other = heard(data), heard(data), heard(data, seed=1)
    np.testing.assert_array_equal(first.made.heard, same.made.heard)
    np.testing.assert_array_equal(first.others.heard, same.others.heard)
    assert not np.array_equal(first.made.frames, other.made.frames)
    np.testing.assert_array_equal(first.real.heard, other.real.heard)


def test_where_recordings_are_short_rollouts_are_shorter(data) -> None:
    found = heard(data, seconds=60)
    assert 100 < found.made.frames.shape[1] < 400
    assert found.made.frames.shape == found.real.frames.shape


def test_what_is_not_finite_is_heard_all_the_same(data) -> None:
    found = heard(data, play=lambda primer, n, seed: np.full((n, primer.shape[1]), np.nan))
    assert np.isnan(found.made.frames).all()
    assert np.isfinite(found.made.heard).all()


def test_recordings_hardly_longer_than_a_primer_are_refused(data) -> None:
    model = stand_in(data, noisy)
    model.info["train"]["primer_frames"] = 400
    with pytest.raises(InputError, match="longer than two primers"):
        listen(model, data, rollouts=2, seconds=1)

"""Which passages rollouts are compared with, where they are from, and how long they are."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

from audio import contract
from audio.errors import InputError
from pipeline.evaluation.rollouts import RolloutSet, make_rollouts
from tests.support.standin import PRIMER_FRAMES, stand_in
from trainer.data.windows import Dataset, open_dataset


@pytest.fixture(scope="module")
def data(dataset) -> Dataset:
    return open_dataset(str(dataset))


def noisy(primer: np.ndarray, n_frames: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.resize(primer, (n_frames, primer.shape[1])) + rng.normal(size=(n_frames, 1))


def rollout_set(
    data: Dataset, play=noisy, seconds: float = 2, seed: int = 0, rollouts: int = 5
) -> RolloutSet:
    model = stand_in(data, play)
    return make_rollouts(model, data, rollouts=rollouts, seconds=seconds, seed=seed)


def test_each_rollout_has_its_primer_and_the_real_continuation(data) -> None:
    made = rollout_set(data)
    n_frames = data.audio.frames_for(2)
    assert made.rollouts.frames.shape == made.continuations.frames.shape == (5, n_frames, 32)
    for primer, real in zip(made.primers, made.continuations.frames, strict=True):
        np.testing.assert_array_equal(primer.log_mel[PRIMER_FRAMES:], real)
    # After the same primer with another seed.
    apart = made.rollouts.frames - made.second_seed.frames
    assert np.abs(apart).min(axis=(1, 2)).max() > 0
    assert apart.std(axis=2).max() == pytest.approx(0, abs=1e-4)


def test_real_passages_are_of_the_right_split(data) -> None:
    rows = [
        json.loads(row)
        for row in pathlib.Path(data.path, contract.RECORDINGS).read_text().splitlines()
    ]
    held_out = {row["recording_id"] for row in rows if row["split"] == contract.EVAL}
    made = rollout_set(data)
    assert {passage.recording_id for passage in made.primers} == held_out
    assert len(made.training_passages.frames) == 5
    # Another passage of the recording is not the continuation of the primer.
    apart = np.abs(made.continuations.frames - made.same_recording.frames).mean(axis=(1, 2))
    assert apart.min() > 0.3


def test_the_primers_that_are_continued_twice_are_of_all_recordings(data) -> None:
    """Primers of a recording follow one another: the first few alone would be of one."""
    made = rollout_set(data, seconds=0.5, rollouts=24)
    twice = {made.primers[index].recording_id for index in made.second_seed_of}
    assert twice == {passage.recording_id for passage in made.primers}
    assert len(twice) > 1
    assert len(made.second_seed.frames) == len(made.second_seed_of) == 8


def test_the_same_seed_gives_the_same_and_another_does_not(data) -> None:
    first, same, other = (rollout_set(data, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.rollouts.through_vocoder, same.rollouts.through_vocoder)
    np.testing.assert_array_equal(
        first.training_passages.through_vocoder, same.training_passages.through_vocoder
    )
    assert not np.array_equal(first.rollouts.frames, other.rollouts.frames)
    np.testing.assert_array_equal(
        first.continuations.through_vocoder, other.continuations.through_vocoder
    )


def test_where_recordings_are_short_rollouts_are_shorter(data) -> None:
    made = rollout_set(data, seconds=60)
    assert 100 < made.rollouts.frames.shape[1] < 400
    assert made.rollouts.frames.shape == made.continuations.frames.shape


def test_frames_that_are_not_finite_pass_the_vocoder(data) -> None:
    made = rollout_set(data, play=lambda primer, n, seed: np.full((n, primer.shape[1]), np.nan))
    assert np.isnan(made.rollouts.frames).all()
    assert np.isfinite(made.rollouts.through_vocoder).all()


def test_recordings_hardly_longer_than_a_primer_are_refused(data) -> None:
    model = stand_in(data, noisy)
    model.info["train"]["primer_frames"] = 400
    with pytest.raises(InputError, match="longer than two primers"):
        make_rollouts(model, data, rollouts=2, seconds=1)

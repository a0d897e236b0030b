"""Copies of training music are found at every phase; other music is not taken for a copy."""

from __future__ import annotations

import numpy as np
import pytest

from audio.config import AudioConfig
from audio.mel import log_mel
from pipeline.evaluation.memorization import NearestStretch, mean_distance
from tests.support import signals

AUDIO = AudioConfig(n_mels=32)


def recording(seed: int) -> np.ndarray:
    return log_mel(signals.tune(seconds=12, seed=seed), AUDIO)


@pytest.fixture(scope="module")
def training() -> list[np.ndarray]:
    return [recording(seed) for seed in range(4)]


@pytest.fixture(scope="module")
def search(training) -> NearestStretch:
    return NearestStretch(np.concatenate(training), AUDIO)


@pytest.mark.parametrize("start", [100, 101, 102, 103])
def test_a_copy_is_found_where_it_is_from(training, search, start: int) -> None:
    clip = training[2][start : start + 2 * search.n_frames + 8]
    nearest = search.find(search.cut(clip[None]), training)
    assert nearest.distance.max() < 1e-2
    assert set(nearest.recording) == {2}
    # The phase that fits the grid of four frames.
    assert np.abs(nearest.frame - [start, start + search.n_frames]).max() <= 3


def test_new_music_is_further_away_than_a_noisy_copy(training, search) -> None:
    new = np.stack([recording(seed)[:300] for seed in range(10, 14)])
    noisy = training[0][None, :300] + np.random.default_rng(0).normal(0, 0.3, (1, 300, 32))
    far, near = (search.find(search.cut(clips), training).distance for clips in (new, noisy))
    assert near.max() < 0.25 * far.min()


def test_the_distance_is_the_root_mean_square_difference(search, training) -> None:
    """The clip is one nat louder everywhere, above the floor."""
    clip = np.maximum(training[0][None, :100], -8) + 1
    nearest = search.find(search.cut(clip), [training[0][: search.n_frames]])
    assert nearest.distance[0] == pytest.approx(1, rel=1e-3)


def test_clips_shorter_than_a_stretch_have_none(search, training) -> None:
    cut = search.cut(np.zeros((3, search.n_frames - 1, 32)))
    assert cut.shape[:2] == (3, 0)
    assert len(search.find(cut, training).distance) == 0


def test_mean_distance_is_the_mean_over_segments() -> None:
    features, other_features = np.zeros((2, 3, 4)), np.zeros((2, 3, 4))
    other_features[0, :, 0] = 3
    other_features[1, :, 1] = 5
    assert mean_distance(features, other_features) == 4

"""Copies are found, whatever their phase, and named; what is new is not."""

from __future__ import annotations

import numpy as np
import pytest

from audio.config import AudioConfig
from audio.mel import log_mel
from pipeline.evaluation.memorization import NearestStretch, apart
from tests.support import signals

AUDIO = AudioConfig(n_mels=32)


def recording(seed: int) -> np.ndarray:
    return log_mel(signals.tune(seconds=12, seed=seed), AUDIO)


@pytest.fixture(scope="module")
def learnt() -> list[np.ndarray]:
    return [recording(seed) for seed in range(4)]


@pytest.fixture(scope="module")
def search(learnt) -> NearestStretch:
    return NearestStretch(np.concatenate(learnt), AUDIO)


@pytest.mark.parametrize("start", [100, 101, 102, 103])
def test_a_copy_is_found_where_it_is_from(learnt, search, start: int) -> None:
    clip = learnt[2][start : start + 2 * search.n_frames + 8]
    found = search.find(search.cut(clip[None]), learnt)
    assert found.distance.max() < 1e-2
    assert set(found.recording) == {2}
    # The phase that fits the grid of four frames.
    assert np.abs(found.frame - [start, start + search.n_frames]).max() <= 3


def test_other_music_is_as_far_as_other_music_is(learnt, search) -> None:
    new = np.stack([recording(seed)[:300] for seed in range(10, 14)])
    noisy = learnt[0][None, :300] + np.random.default_rng(0).normal(0, 0.3, (1, 300, 32))
    far, near = (search.find(search.cut(clips), learnt).distance for clips in (new, noisy))
    assert near.max() < 0.25 * far.min()


def test_the_distance_is_the_root_mean_square_difference(search, learnt) -> None:
    """Of a clip that is one nat louder everywhere, above the floor."""
    clip = np.maximum(learnt[0][None, :100], -8) + 1
    found = search.find(search.cut(clip), [learnt[0][: search.n_frames]])
    assert found.distance[0] == pytest.approx(1, rel=1e-3)


def test_clips_shorter_than_a_stretch_have_none(search, learnt) -> None:
    cut = search.cut(np.zeros((3, search.n_frames - 1, 32)))
    assert cut.shape[:2] == (3, 0)
    assert len(search.find(cut, learnt).distance) == 0


def test_apart_is_the_mean_distance_piece_by_piece() -> None:
    one, other = np.zeros((2, 3, 4)), np.zeros((2, 3, 4))
    other[0, :, 0] = 3
    other[1, :, 1] = 5
    assert apart(one, other) == 4

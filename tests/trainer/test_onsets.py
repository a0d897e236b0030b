"""Onset strength and the beat that is read from it, on signals whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from trainer.onsets import Onsets, beat


def rises(strengths: np.ndarray) -> np.ndarray:
    """Frames [batch, n_frames, 4] that rise by these amounts, one after the other."""
    return np.repeat(np.cumsum(strengths, axis=1)[..., None], 4, axis=-1).astype(np.float32)


@pytest.fixture
def onsets() -> Onsets:
    made = Onsets(4)
    made.prepare(rises(np.random.default_rng(0).exponential(size=(50, 100))))
    return made


def test_strengths_are_standardised_and_classes_equally_likely(onsets) -> None:
    strengths = onsets.strengths(rises(np.random.default_rng(1).exponential(size=(50, 100))))
    assert strengths.shape == (50, 100)
    np.testing.assert_array_equal(strengths[:, 0], 0)
    assert abs(float(tf.reduce_mean(strengths[:, 1:]))) < 0.05
    assert float(tf.math.reduce_std(strengths[:, 1:])) == pytest.approx(1, abs=0.05)
    counts = np.bincount(onsets.classes(strengths[:, 1:]).numpy().ravel())
    np.testing.assert_allclose(counts / counts.sum(), 0.25, atol=0.02)


def test_the_centre_of_a_class_is_of_that_class(onsets) -> None:
    np.testing.assert_array_equal(onsets.classes(onsets.centres.value), range(4))


def test_a_fall_is_no_onset(onsets) -> None:
    frames = rises(np.full((1, 3), -1.0))
    assert int(onsets.classes(onsets.strengths(frames))[0, 1]) == 0


@pytest.mark.parametrize(("lag", "beat_lag"), [(11, 22), (16, 16), (22, 22), (31, 31)])
@pytest.mark.parametrize("n_frames", [64, 128])
def test_the_beat_of_regular_onsets_is_found(lag: int, beat_lag: int, n_frames: int) -> None:
    """Eleven frames are four onsets a second: their beat is every second one."""
    rng = np.random.default_rng(lag)
    strengths = rng.normal(0, 0.2, (4, n_frames))
    for row in range(4):
        strengths[row, row::lag] += 3
    found, certainty = beat(tf.constant(strengths, tf.float32))
    assert (found.numpy() == beat_lag).all()
    assert (certainty.numpy() > 0.6).all()


def test_noise_and_silence_have_no_certain_beat() -> None:
    noise = np.random.default_rng(0).normal(size=(20, 128))
    _, certainty = beat(tf.constant(noise, tf.float32))
    assert certainty.numpy().mean() < 0.4
    lag, certainty = beat(tf.zeros([2, 64]))
    np.testing.assert_array_equal(certainty, 0)
    assert (lag.numpy() >= 8).all()


def test_a_stretch_shorter_than_any_beat_is_no_error() -> None:
    lag, certainty = beat(tf.zeros([1, 1]))
    assert int(lag[0]) >= 8
    assert float(certainty[0]) == 0

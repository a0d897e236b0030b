"""The beat that is read from onset strengths, on signals whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from trainer.model.beat import (
    LONGEST_LAG,
    N_LAGS,
    SHORTEST_LAG,
    RunningAutocorrelation,
    beat,
    correlation,
)


def pulses(lag: int, n_frames: int, *, rows: int = 4, first: int = 0) -> np.ndarray:
    """Noise [rows, n_frames] with an onset every `lag` frames."""
    strengths = np.random.default_rng(lag).normal(0, 0.2, (rows, n_frames))
    for row in range(rows):
        strengths[row, (first + row) % lag :: lag] += 3
    return strengths.astype(np.float32)


@pytest.mark.parametrize(("lag", "beat_lag"), [(11, 22), (16, 16), (22, 22), (31, 31)])
@pytest.mark.parametrize("n_frames", [64, 128])
def test_the_beat_of_regular_onsets_is_found(lag: int, beat_lag: int, n_frames: int) -> None:
    """Eleven frames are four onsets a second: their beat is every second one."""
    found = correlation(RunningAutocorrelation.of(tf.constant(pulses(lag, n_frames))).means)
    assert (beat(found).numpy() == beat_lag).all()
    assert (found.numpy()[:, beat_lag - SHORTEST_LAG] > 0.6).all()


def test_a_level_that_strengths_have_in_common_is_no_beat() -> None:
    strengths = tf.constant(pulses(16, 128) + 2)
    np.testing.assert_allclose(
        correlation(RunningAutocorrelation.of(strengths).means),
        correlation(RunningAutocorrelation.of(strengths - 2).means),
        atol=1e-4,
    )


def test_noise_and_silence_have_no_certain_beat() -> None:
    noise = np.random.default_rng(0).normal(size=(20, 128)).astype(np.float32)
    assert (
        float(
            tf.reduce_mean(
                tf.reduce_max(correlation(RunningAutocorrelation.of(noise).means), axis=1)
            )
        )
        < 0.4
    )
    found = correlation(RunningAutocorrelation.of(tf.zeros([2, 64])).means)
    np.testing.assert_array_equal(found, 0)
    assert (beat(found).numpy() >= SHORTEST_LAG).all()


def test_a_stretch_shorter_than_any_beat_is_no_error() -> None:
    found = correlation(RunningAutocorrelation.of(tf.zeros([1, 1])).means)
    np.testing.assert_array_equal(found, 0)


def test_frame_after_frame_is_the_same_as_a_window() -> None:
    """Lags that nothing was heard of yet keep what the anchor said."""
    strengths, anchor = tf.constant(pulses(16, 150)), tf.constant(pulses(22, 64))
    means, after = RunningAutocorrelation.of(anchor).over(strengths)
    assert means.shape == (4, 150, N_LAGS + 2)
    tempo = RunningAutocorrelation.of(anchor)
    before = tf.zeros([4, LONGEST_LAG])
    for index in range(150):
        tempo = tempo.after(strengths[:, index], before)
        before = tf.concat([before[:, 1:], strengths[:, index, None]], axis=1)
        np.testing.assert_allclose(tempo.means, means[:, index], atol=1e-4)
    np.testing.assert_allclose(after.means, tempo.means, atol=1e-4)
    np.testing.assert_array_equal(after.heard, tempo.heard)


def test_a_new_beat_is_heard_after_some_seconds() -> None:
    tempo = RunningAutocorrelation.of(tf.constant(pulses(22, 64)))
    assert (beat(correlation(tempo.means)).numpy() == 22).all()
    means, _ = tempo.over(tf.constant(pulses(31, 500)))
    assert (beat(correlation(means[:, -1])).numpy() == 31).all()

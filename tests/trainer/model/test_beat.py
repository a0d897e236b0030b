"""Beat tracking on onset strengths whose beat is known."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from trainer.model.beat import (
    LONGEST_LAG,
    N_LAGS,
    SHORTEST_LAG,
    RunningAutocorrelation,
    autocorrelation,
    beat_lag,
)
from trainer.tf_function import graph_function


def pulses(lag: int, n_frames: int, *, rows: int = 4, first: int = 0) -> np.ndarray:
    """Noise [rows, n_frames] with an onset every `lag` frames."""
    strengths = np.random.default_rng(lag).normal(0, 0.2, (rows, n_frames))
    for row in range(rows):
        strengths[row, (first + row) % lag :: lag] += 3
    return strengths.astype(np.float32)


def measure(strengths: np.ndarray | tf.Tensor) -> tf.Tensor:
    return autocorrelation(RunningAutocorrelation.measure(tf.constant(strengths)).means)


@pytest.mark.parametrize(("lag", "expected"), [(11, 22), (16, 16), (22, 22), (31, 31)])
@pytest.mark.parametrize("n_frames", [64, 128])
def test_beat_lag_of_regular_onsets(lag: int, expected: int, n_frames: int) -> None:
    """Eleven frames are four onsets a second: their beat is every second one."""
    correlations = measure(pulses(lag, n_frames))
    assert (beat_lag(correlations).numpy() == expected).all()
    assert (correlations.numpy()[:, expected - SHORTEST_LAG] > 0.6).all()


def test_autocorrelation_ignores_a_constant_level() -> None:
    strengths = pulses(16, 128)
    np.testing.assert_allclose(measure(strengths + 2), measure(strengths), atol=1e-4)


def test_autocorrelation_of_noise_and_silence_is_low() -> None:
    noise = np.random.default_rng(0).normal(size=(20, 128)).astype(np.float32)
    assert float(tf.reduce_mean(tf.reduce_max(measure(noise), axis=1))) < 0.4
    silence = measure(np.zeros((2, 64), np.float32))
    np.testing.assert_array_equal(silence, 0)
    assert (beat_lag(silence).numpy() >= SHORTEST_LAG).all()


def test_measure_accepts_a_single_frame() -> None:
    np.testing.assert_array_equal(measure(np.zeros((1, 1), np.float32)), 0)


def test_extend_by_a_window_equals_extend_frame_by_frame() -> None:
    """Lags longer than the window so far keep what the anchor set."""
    strengths, anchor = tf.constant(pulses(16, 80)), tf.constant(pulses(22, 64))
    earlier = tf.zeros([4, LONGEST_LAG])
    means, state = RunningAutocorrelation.measure(anchor).extend(strengths, earlier)
    assert means.shape == (4, 80, N_LAGS + 2)
    extend = graph_function(lambda state, *arguments: state.extend(*arguments))
    stepped = RunningAutocorrelation.measure(anchor)
    for index in range(80):
        frame = strengths[:, index : index + 1]
        frame_means, stepped = extend(stepped, frame, earlier)
        np.testing.assert_allclose(frame_means[:, 0], means[:, index], atol=1e-4)
        earlier = tf.concat([earlier[:, 1:], frame], axis=1)
    np.testing.assert_allclose(state.means, stepped.means, atol=1e-4)
    np.testing.assert_array_equal(state.n_frames, stepped.n_frames)


def test_extend_follows_a_new_beat_after_some_seconds() -> None:
    state = RunningAutocorrelation.measure(tf.constant(pulses(22, 64)))
    assert (beat_lag(autocorrelation(state.means)).numpy() == 22).all()
    means, _ = state.extend(tf.constant(pulses(31, 500)), tf.zeros([4, LONGEST_LAG]))
    assert (beat_lag(autocorrelation(means[:, -1])).numpy() == 31).all()

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


def test_scan_equals_repeated_update() -> None:
    """Lags longer than the window so far keep what the anchor set."""
    strengths, anchor = tf.constant(pulses(16, 80)), tf.constant(pulses(22, 64))
    means, scanned = RunningAutocorrelation.measure(anchor).scan(strengths)
    assert means.shape == (4, 80, N_LAGS + 2)
    updated = RunningAutocorrelation.measure(anchor)
    earlier = tf.zeros([4, LONGEST_LAG])
    update = graph_function(lambda state, *arguments: state.update(*arguments))
    for index in range(80):
        updated = update(updated, strengths[:, index], earlier)
        earlier = tf.concat([earlier[:, 1:], strengths[:, index, None]], axis=1)
        np.testing.assert_allclose(updated.means, means[:, index], atol=1e-4)
    np.testing.assert_allclose(scanned.means, updated.means, atol=1e-4)
    np.testing.assert_array_equal(scanned.n_frames, updated.n_frames)


def test_scan_follows_a_new_beat_after_some_seconds() -> None:
    anchor = RunningAutocorrelation.measure(tf.constant(pulses(22, 64)))
    assert (beat_lag(autocorrelation(anchor.means)).numpy() == 22).all()
    means, _ = anchor.scan(tf.constant(pulses(31, 500)))
    assert (beat_lag(autocorrelation(means[:, -1])).numpy() == 31).all()

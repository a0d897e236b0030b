"""Input features: their shapes, their order, and a window that equals its frames step by step."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.support.small_models import N_MELS, small_model, wandering_frames
from trainer.model.beat import LONGEST_LAG, N_LAGS
from trainer.model.inputs import AnchoredInputs, PlainInputs
from trainer.tf_function import graph_function

N_FRAMES = 230
SEED = tf.constant([3, 4], tf.int64)
# Features of a frame of twelve bands: components, noise level, style, lag of the beat,
# autocorrelation, onsets on four beats, latest onsets, components on three beats, their change.
WIDTHS = [N_MELS, 1, 3 * N_MELS, 1, N_LAGS, 4, 24, 3 * N_MELS, N_MELS]


@pytest.fixture(scope="module")
def inputs() -> AnchoredInputs:
    layer = small_model("mixture", input_noise=0.5).features
    assert isinstance(layer, AnchoredInputs)
    return layer


def pulsing_frames() -> np.ndarray:
    """One window with a pulse every 20 frames: [1, N_FRAMES, N_MELS]."""
    frames = 0.05 * wandering_frames(1, N_FRAMES)
    frames[:, ::20] += 3.0
    return frames


def split(features: tf.Tensor) -> list[np.ndarray]:
    return [np.asarray(part) for part in tf.split(features, WIDTHS, axis=-1)]


def test_plain_window_features_are_the_frames() -> None:
    inputs = PlainInputs(2, noise=0.5)
    frames = tf.constant([[[1.0, 2.0], [3.0, 4.0]]])
    features, seen, memory = inputs.window_features(frames, frames[:, :0], None)
    np.testing.assert_array_equal(features, frames)
    np.testing.assert_array_equal(seen, frames)
    np.testing.assert_array_equal(inputs.step_features(frames[:, 0], memory)[0], [[1, 2]])
    noisy, seen, _ = inputs.window_features(frames, frames[:, :0], SEED)
    np.testing.assert_array_equal(noisy, seen)
    assert 0 < np.abs(noisy - frames).max() < 3
    assert inputs.n_features == 2
    assert inputs.beat_cue(features) is None


def test_anchored_window_features_shapes(inputs) -> None:
    frames, anchor = wandering_frames(3, 40), wandering_frames(3, 30, seed=7)
    features, seen, _ = inputs.window_features(tf.constant(frames), tf.constant(anchor), None)
    assert features.shape == (3, 40, inputs.n_features) == (3, 40, sum(WIDTHS))
    np.testing.assert_array_equal(seen, frames)
    assert inputs.beat_cue(features).shape == (3, 40, 2)


def test_anchored_window_features_equal_repeated_step_features(inputs) -> None:
    frames = tf.constant(wandering_frames(2, 60))
    anchor = tf.constant(wandering_frames(2, 30, seed=7))
    window, _, _ = inputs.window_features(frames, anchor, None)
    first, _, memory = inputs.window_features(frames[:, :1], anchor, None)
    np.testing.assert_allclose(first[:, 0], window[:, 0], atol=1e-4)
    step_features = graph_function(inputs.step_features)
    for index in range(1, 60):
        features, memory = step_features(frames[:, index], memory)
        np.testing.assert_allclose(features, window[:, index], atol=1e-4)


def test_anchored_window_features_content(inputs) -> None:
    """Late in a window with a pulse every 20 frames, whose beat is that lag."""
    frames = tf.constant(pulsing_frames())
    z = inputs.components(frames)[0].numpy()
    strengths = inputs.onsets.strengths(frames)[0].numpy()
    features, _, _ = inputs.window_features(frames, frames[:, :30], None)
    components, level, style, lag, _, on_beats, latest, earlier, change = split(features[0])
    np.testing.assert_allclose(components, z, atol=1e-5)
    np.testing.assert_allclose(level, 0.3 * 0.5)
    np.testing.assert_allclose(style[7, :N_MELS], z[:30].mean(axis=0), atol=1e-4)
    late = np.arange(150, N_FRAMES)
    np.testing.assert_allclose(lag[late, 0] * LONGEST_LAG, 20, rtol=1e-5)
    for column, frames_back in enumerate([20, 40, 80, 10]):
        np.testing.assert_allclose(on_beats[late, column], strengths[late + 1 - frames_back])
    for age in range(24):
        np.testing.assert_allclose(latest[late, age], strengths[late - age])
    for beat, frames_back in enumerate([20, 40, 80]):
        columns = slice(beat * N_MELS, (beat + 1) * N_MELS)
        np.testing.assert_allclose(earlier[late, columns], z[late + 1 - frames_back], atol=1e-5)
    np.testing.assert_allclose(change[late], z[late + 1 - 20] - z[late - 20], atol=1e-5)


def test_anchored_noise_is_of_the_level_that_is_a_feature(inputs) -> None:
    frames = tf.constant(wandering_frames(40, 100))
    features, seen, _ = inputs.window_features(frames, frames[:, :30], SEED)
    components, level, *_ = split(features)
    np.testing.assert_allclose(components, inputs.components(seen), atol=1e-5)
    assert 0 <= level.min() < 0.05 < 0.45 < level.max() <= 0.5
    noise = inputs.components(seen) - inputs.components(frames)
    deviation = np.std(noise / inputs.components.innovation_scale, axis=(1, 2))
    np.testing.assert_allclose(deviation, level[:, 0, 0], rtol=0.15, atol=1e-3)
    again, _, _ = inputs.window_features(frames, frames[:, :30], SEED)
    np.testing.assert_array_equal(again, features)


def test_anchored_beat_cue_is_the_onset_one_beat_before_the_next_frame(inputs) -> None:
    frames = tf.constant(pulsing_frames())
    features, _, _ = inputs.window_features(frames, frames[:, :30], None)
    regularity, strength = np.transpose(inputs.beat_cue(features)[0])
    strengths = inputs.onsets.strengths(frames)[0].numpy()
    late = np.arange(150, N_FRAMES)
    np.testing.assert_allclose(strength[late], strengths[late + 1 - 20], atol=1e-5)
    assert regularity[late].min() > 0.5
    before_pulse = late % 20 == 19
    assert strength[late][before_pulse].min() > strength[late][~before_pulse].max()

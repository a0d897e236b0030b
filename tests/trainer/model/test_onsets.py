"""Onset strength on frames whose rises are known."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from trainer.model.onsets import Onsets


def rising(amounts: np.ndarray) -> np.ndarray:
    """Frames [batch, n_frames, 4] that rise by these amounts, one after the other."""
    return np.repeat(np.cumsum(amounts, axis=1)[..., None], 4, axis=-1).astype(np.float32)


@pytest.fixture
def onsets() -> Onsets:
    layer = Onsets(4)
    layer.adapt(rising(np.random.default_rng(0).exponential(size=(50, 100))))
    return layer


def test_strengths_are_standardised_and_classes_equally_likely(onsets) -> None:
    strengths = onsets.strengths(rising(np.random.default_rng(1).exponential(size=(50, 100))))
    assert strengths.shape == (50, 100)
    np.testing.assert_array_equal(strengths[:, 0], 0)
    assert abs(float(tf.reduce_mean(strengths[:, 1:]))) < 0.05
    assert float(tf.math.reduce_std(strengths[:, 1:])) == pytest.approx(1, abs=0.05)
    counts = np.bincount(onsets.classes(strengths[:, 1:]).numpy().ravel())
    np.testing.assert_allclose(counts / counts.sum(), 0.25, atol=0.02)


def test_classes_of_class_medians(onsets) -> None:
    np.testing.assert_array_equal(onsets.classes(onsets.class_medians.value), range(4))


def test_classes_of_a_fall_is_the_lowest(onsets) -> None:
    frames = rising(np.full((1, 3), -1.0))
    assert int(onsets.classes(onsets.strengths(frames))[0, 1]) == 0


def test_impose_class_scales_rises_to_the_nearest_edge(onsets) -> None:
    rng = np.random.default_rng(2)
    previous = tf.constant(rng.normal(size=(200, 4)), tf.float32)
    # Each frame rises in one band at least: where nothing rises there is nothing to scale.
    frames = previous + tf.constant(np.abs(rng.normal(0.3, 1, size=(200, 4))) + 0.1, tf.float32)
    frames -= tf.constant([0.0, 0.0, 0.0, 2.0])
    strength = onsets.strength(previous, frames)
    own_classes = onsets.classes(strength)
    unchanged = onsets.impose_class(previous, frames, own_classes)
    np.testing.assert_allclose(unchanged, frames, atol=1e-5)
    edges = [-np.inf, *onsets.class_edges.numpy(), np.inf]
    for index in range(4):
        imposed = onsets.impose_class(previous, frames, tf.fill([200], index))
        lowest, highest = edges[index], edges[index + 1]
        after = onsets.strength(previous, imposed).numpy()
        distance_after = np.abs(after - np.clip(after, lowest, highest))
        # A rise that would have to be scaled by more than four does not quite get there.
        limit = np.log(4) / float(onsets.deviation)
        distance_before = np.abs(strength - np.clip(strength, lowest, highest))
        expected = np.maximum(distance_before - limit, 0)
        np.testing.assert_allclose(distance_after, expected, atol=0.02)
        falling = (frames < previous).numpy()
        np.testing.assert_array_equal(imposed.numpy()[falling], frames.numpy()[falling])

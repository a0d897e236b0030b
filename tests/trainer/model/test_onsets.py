"""Onset strength, on signals whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from trainer.model.onsets import Onsets


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


def test_a_frame_is_scaled_into_the_class_it_is_to_be_of(onsets) -> None:
    rng = np.random.default_rng(2)
    before = tf.constant(rng.normal(size=(200, 4)), tf.float32)
    # Each rises in one band at least: where nothing rises there is nothing to scale.
    frames = before + tf.constant(np.abs(rng.normal(0.3, 1, size=(200, 4))) + 0.1, tf.float32)
    frames -= tf.constant([0.0, 0.0, 0.0, 2.0])
    wanted = onsets.classes(onsets.strength(before, frames))
    np.testing.assert_allclose(onsets.impose(before, frames, wanted), frames, atol=1e-5)
    edges = [-np.inf, *onsets.edges.numpy(), np.inf]
    for other in range(4):
        made = onsets.impose(before, frames, tf.fill([200], other))
        strength = onsets.strength(before, made).numpy()
        missing = np.abs(strength - np.clip(strength, edges[other], edges[other + 1]))
        # What would have to be scaled by more than fourfold does not quite get there.
        most = np.log(4) / float(onsets.deviation)
        was = onsets.strength(before, frames).numpy()
        far = np.abs(was - np.clip(was, edges[other], edges[other + 1]))
        np.testing.assert_allclose(missing, np.maximum(far - most, 0), atol=0.02)
        falling = (frames < before).numpy()
        np.testing.assert_array_equal(made.numpy()[falling], frames.numpy()[falling])

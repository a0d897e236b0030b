"""Style: mean, rise and variance of each band."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trainer.style.statistics import Style


def test_measure_literal_frames() -> None:
    frames = np.array([[[0.0, 1, 5], [2, 1, 3], [1, 1, 4]]], np.float32)
    style = Style.measure(tf.constant(frames))
    np.testing.assert_allclose(style.mean, [[1, 1, 4]])
    np.testing.assert_allclose(style.rise, [[1, 0, 0.5]])
    np.testing.assert_allclose(style.variance, [[2 / 3, 0, 2 / 3]], rtol=1e-6)


def test_measure_single_frame() -> None:
    style = Style.measure(tf.ones([2, 1, 3]))
    np.testing.assert_array_equal(style.mean, np.ones((2, 3)))
    np.testing.assert_array_equal(style.rise, np.zeros((2, 3)))
    np.testing.assert_array_equal(style.variance, np.zeros((2, 3)))


def test_update_moves_towards_the_frame() -> None:
    """The mean by 1 / 64 of the difference, rise and variance by 1 / 256."""
    style = Style(*(tf.zeros([1, 1]),) * 3)
    updated = style.update(tf.constant([[8.0]]), tf.constant([[4.0]]))
    np.testing.assert_allclose(np.ravel(updated), [8 / 64, 4 / 256, 64 / 256])

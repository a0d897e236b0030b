"""The normaliser on literal bands."""

import numpy as np
import tensorflow as tf

from trainer.data.normaliser import Normaliser

NORMALISER = Normaliser(
    mean=tf.constant([-1.0, 2.0]),
    std=tf.constant([0.5, 2.0]),
    highest=tf.constant([0.0, 4.0]),
    floor=-6.0,
)


def test_apply_raises_log_mel_to_the_floor() -> None:
    frames = NORMALISER.apply(tf.constant([[0.0, 0.0], [-9.0, -9.0]]))
    np.testing.assert_allclose(frames, [[2, -1], [-10, -4]])


def test_invert_returns_log_mel() -> None:
    log_mel = tf.constant(np.random.default_rng(0).uniform(-6, 4, (50, 2)), tf.float32)
    np.testing.assert_allclose(NORMALISER.invert(NORMALISER.apply(log_mel)), log_mel, atol=1e-5)


def test_limit_clips_frames_to_the_range_of_training() -> None:
    limited = NORMALISER.invert(NORMALISER.limit(tf.constant([[100.0] * 2, [-100.0] * 2])))
    np.testing.assert_allclose(limited, [[0, 4], [-6, -6]], atol=1e-5)


def test_level_is_the_logarithm_of_summed_power() -> None:
    level = NORMALISER.level(tf.constant([[2.0, -1.0]]))  # both bands at 0 nats
    np.testing.assert_allclose(level, [[np.log(2)]], rtol=1e-6)


def test_level_gradient_is_the_derivative_of_the_level() -> None:
    frames = np.random.default_rng(0).normal(0, 1, (5, 2)).astype(np.float32)
    step = np.array([0.0, 0.01], np.float32)
    slope = (NORMALISER.level(frames + step) - NORMALISER.level(frames - step))[:, 0] / 0.02
    gradient = NORMALISER.level_gradient(frames)[:, 1]
    np.testing.assert_allclose(slope, gradient, rtol=0.05, atol=1e-3)

"""The next-frame model before training."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from tests.support.tiny import TINY
from trainer.model.next_frame import NextFrameModel

FRAMES = tf.random.stateless_normal([2, 5, 8], seed=[1, 2])


def test_call_of_an_untrained_residual_model_repeats_the_last_frame() -> None:
    model = NextFrameModel(n_mels=8, settings=TINY)
    np.testing.assert_array_equal(model(FRAMES), FRAMES)


def test_call_without_residual_is_linear_in_the_hidden_state() -> None:
    model = NextFrameModel(n_mels=8, settings=dataclasses.replace(TINY, head="mse_frame"))
    expected = model.lstm(FRAMES) @ model.head.linear.kernel + model.head.linear.bias
    np.testing.assert_allclose(model(FRAMES), expected, atol=1e-6)

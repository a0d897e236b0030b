"""How a rollout is held near the style of its primer, however long it is.

A model that hears itself wanders off: a little too loud, too even or too still in every frame adds
up. What is held are three statistics of each band over the last seconds, compared with what is
wanted of them (keeper.py): the mean, how much the band rises from frame to frame, and its variance.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

# Over how many frames the recent mean is taken, 1.5 s at the default hop, and rises and variance:
# music is livelier at times, and held over 1.5 s every rollout of a primer would be as lively.
RECENT_FRAMES, _SLOW_FRAMES = 64, 256
# A band that stands still in the anchor may move by so much, in deviations over the training split:
# a rollout that has fallen silent must be able to begin again.
LEAST_RISE, LEAST_VARIANCE = 1e-2, 1e-2


class Style(NamedTuple):
    """Statistics of each band of normalised frames, float32 [batch, n_mels] each.

    Attributes:
      mean: of frames.
      rise: mean of max(x[t] - x[t - 1], 0).
      variance: around the mean.
    """

    mean: tf.Tensor
    rise: tf.Tensor
    variance: tf.Tensor

    @classmethod
    def of(cls, frames: tf.Tensor) -> Style:
        """Returns the style of stretches [batch, n_frames >= 1, n_mels]."""
        rises = tf.reduce_sum(tf.nn.relu(frames[:, 1:] - frames[:, :-1]), axis=1)
        changes = tf.cast(tf.maximum(tf.shape(frames)[1] - 1, 1), tf.float32)
        return cls(
            tf.reduce_mean(frames, axis=1),
            rises / changes,
            tf.math.reduce_variance(frames, axis=1),
        )

    def after(self, frame: tf.Tensor, before: tf.Tensor) -> Style:
        """Returns the style after one more frame [batch, n_mels], with a fading memory."""
        news = (frame, tf.nn.relu(frame - before), tf.square(frame - self.mean))
        spans = (RECENT_FRAMES, _SLOW_FRAMES, _SLOW_FRAMES)
        parts = zip(self, news, spans, strict=True)
        return Style(*(old + (new - old) / span for old, new, span in parts))

"""Statistics of each band that describe the style of frames: mean, rise and variance.

A model that is fed its own output drifts: every frame is a little too loud, too even or too still,
and these errors add up. A rollout is therefore held near target values of these statistics
(control.py), however long it is.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

# Memory of the recent mean, frames: 1.5 s at the default hop.
RECENT_FRAMES = 64
# Memory of recent rises and variances, frames: 6 s at the default hop. Music is livelier at times;
# over 1.5 s, every rollout of a primer became equally lively (docs/lab/experiments.md, 2026-11-25).
_SLOW_FRAMES = 256
# Smallest rise that counts, in deviations over the training split. It is added to what is measured
# and to targets, so that a band that is silent in the anchor can begin again.
MIN_RISE = 1e-2
# Smallest variance that counts, in squared deviations, for the same reason.
MIN_VARIANCE = 1e-2


class Style(NamedTuple):
    """Statistics of each band of normalised frames, float32 [batch, n_mels] each.

    Attributes:
      mean: Mean of the frames.
      rise: Mean of max(x[t] - x[t-1], 0).
      variance: Variance around the mean.
    """

    mean: tf.Tensor
    rise: tf.Tensor
    variance: tf.Tensor

    @classmethod
    def measure(cls, frames: tf.Tensor) -> Style:
        """Returns the style of frames [batch, n_frames >= 1, n_mels]."""
        rises = tf.reduce_sum(tf.nn.relu(frames[:, 1:] - frames[:, :-1]), axis=1)
        n_changes = tf.cast(tf.maximum(tf.shape(frames)[1] - 1, 1), tf.float32)
        return cls(
            tf.reduce_mean(frames, axis=1),
            rises / n_changes,
            tf.math.reduce_variance(frames, axis=1),
        )

    def update(self, frame: tf.Tensor, previous: tf.Tensor) -> Style:
        """Returns the style after one more frame [batch, n_mels], with a fading memory."""
        values = (frame, tf.nn.relu(frame - previous), tf.square(frame - self.mean))
        memories = (RECENT_FRAMES, _SLOW_FRAMES, _SLOW_FRAMES)
        parts = zip(self, values, memories, strict=True)
        return Style(*(mean + (value - mean) / memory for mean, value, memory in parts))

"""Beat tracking: a running autocorrelation of onset strengths, and the lag of the beat in it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

# Range of lags, frames: 0.19 to 1.1 s at the default hop, from sixteenths to slow beats.
SHORTEST_LAG = 8
LONGEST_LAG = 48
N_LAGS = LONGEST_LAG - SHORTEST_LAG + 1
_LAGS = np.arange(SHORTEST_LAG, LONGEST_LAG + 1, dtype=np.int32)
# The most likely beat, frames: 0.5 s at the default hop (Ellis, 2007).
_LIKELIEST_LAG = 21.5
# Deviation of likely beats around it, octaves (Ellis, 2007).
_LAG_DEVIATION = 1.0
# Frames after which an onset counts 1 / e: 6 s at the default hop.
_MEMORY_FRAMES = 256.0
# What the running means keep from one frame to the next.
_KEEP = float(np.exp(-1 / _MEMORY_FRAMES))
# Lower limit of the variance of strengths: silence has no beat.
_MIN_VARIANCE = 1e-3


class RunningAutocorrelation(NamedTuple):
    """Running means of products of onset strengths s, with a fading memory.

    Attributes:
      means: Means of s[t] s[t - lag] for each lag, of s[t]² and of s[t], float32
        [batch, N_LAGS + 2].
      n_frames: Frames so far, int32 [batch]. A lag's mean stays as the anchor set it until there
        is a frame so long ago.

    References:
      Ellis, "Beat tracking by dynamic programming", 2007: beats from the autocorrelation of onset
        strength, weighted by how likely a tempo is.
      Grosche and Mueller, "Cyclic tempogram", 2010: the autocorrelation as it changes over time.
    """

    means: tf.Tensor
    n_frames: tf.Tensor

    @classmethod
    def measure(cls, strengths: tf.Tensor) -> RunningAutocorrelation:
        """Returns the means over anchors [batch, n_frames], which later frames do not continue."""
        n_frames = tf.shape(strengths)[1]
        mean = tf.reduce_mean(strengths, axis=1, keepdims=True)
        centred = strengths - mean
        padded = tf.pad(centred, [[0, 0], [0, LONGEST_LAG]])
        later = tf.gather(padded, _LAGS[:, None] + tf.range(n_frames)[None, :], axis=1)
        overlap = tf.cast(tf.maximum(n_frames - _LAGS, SHORTEST_LAG), tf.float32)
        products = tf.einsum("blt,bt->bl", later, centred) / overlap
        square = tf.reduce_mean(tf.square(centred), axis=1, keepdims=True)
        means = tf.concat([products + mean**2, square + mean**2, mean], axis=1)
        return cls(means, tf.zeros([tf.shape(strengths)[0]], tf.int32))

    def extend(
        self, strengths: tf.Tensor, earlier: tf.Tensor
    ) -> tuple[tf.Tensor, RunningAutocorrelation]:
        """Updates the means with the next frames.

        Args:
          strengths: Strengths of the next frames, [batch, n_frames].
          earlier: Strengths of the frames before them, the latest last, 0 before the first frame,
            [batch, LONGEST_LAG or more].

        Returns:
          The means after each frame [batch, n_frames, N_LAGS + 2], and the state after the last.
        """
        n_frames = tf.shape(strengths)[1]
        at = tf.range(n_frames)
        padded = tf.concat([earlier[:, -LONGEST_LAG:], strengths], axis=1)
        lagged = tf.gather(padded, LONGEST_LAG + at[:, None] - _LAGS, axis=1)
        now = strengths[..., None]
        known = self.n_frames[:, None, None] + at[:, None] >= _LAGS
        products = tf.where(known, now * lagged, self.means[:, None, :N_LAGS])
        values = tf.concat([products, tf.square(now), now], axis=-1)
        # mean[t] = keep mean[t-1] + (1 - keep) value[t], written out as one triangular product:
        # mean[t] = sum over k <= t of (1 - keep) keep^(t-k) value[k], plus keep^(t+1) mean[-1].
        ages = tf.cast(at[:, None] - at[None, :], tf.float32)
        weights = tf.where(ages >= 0, (1 - _KEEP) * _KEEP ** tf.maximum(ages, 0.0), 0.0)
        kept = _KEEP ** tf.cast(at + 1, tf.float32)
        means = tf.einsum("tk,bkl->btl", weights, values) + kept[:, None] * self.means[:, None]
        return means, RunningAutocorrelation(means[:, -1], self.n_frames + n_frames)


def autocorrelation(means: tf.Tensor) -> tf.Tensor:
    """Returns the autocorrelation at each lag, -1 to 1, [..., N_LAGS].

    Args:
      means: As RunningAutocorrelation holds them, [..., N_LAGS + 2].
    """
    squared_mean = tf.square(means[..., -1:])
    variance = tf.maximum(means[..., -2:-1] - squared_mean, _MIN_VARIANCE)
    return tf.clip_by_value((means[..., :N_LAGS] - squared_mean) / variance, -1.0, 1.0)


def beat_lag(correlations: tf.Tensor) -> tf.Tensor:
    """Returns the lag of the beat, frames, int32 [...], for autocorrelations [..., N_LAGS]."""
    octaves = np.log2(_LAGS / _LIKELIEST_LAG) / _LAG_DEVIATION
    weight = tf.constant(np.exp(-0.5 * octaves**2), tf.float32)
    return SHORTEST_LAG + tf.argmax(correlations * weight, axis=-1, output_type=tf.int32)

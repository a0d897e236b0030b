"""The beat, as it is heard while frames come in: autocorrelation of onsets with a fading memory."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

# Lags in frames, 0.19 to 1.1 s at the default hop: from sixteenths to slow beats.
SHORTEST_LAG, LONGEST_LAG = 8, 48
N_LAGS = LONGEST_LAG - SHORTEST_LAG + 1
# Where beats are likeliest, 0.5 s, and how far around, in octaves (Ellis, 2007).
_LIKELIEST_LAG, _OCTAVES = 21.5, 1.0
# After so many frames, 6 s at the default hop, what was heard counts 1 / e.
_MEMORY = 256.0
_KEPT = float(np.exp(-1 / _MEMORY))
_LEAST_POWER = 1e-3


class RunningAutocorrelation(NamedTuple):
    """What is remembered of onset strengths s.

    Attributes:
      means: fading means of s[t] s[t - lag] for each lag, of s[t]² and of s[t], float32
        [..., N_LAGS + 2].
      heard: frames so far, int32 [batch]; a lag's mean stays as it is until there is a frame so
        long ago.

    References:
      Ellis, "Beat tracking by dynamic programming", 2007: beats from the autocorrelation of onset
        strength, weighted by how likely a tempo is. Grosche and Mueller, "Cyclic tempogram", 2010:
        the autocorrelation as it changes over time.
    """

    means: tf.Tensor
    heard: tf.Tensor

    @classmethod
    def of(cls, strengths: tf.Tensor) -> RunningAutocorrelation:
        """Returns the tempo of stretches [batch, n_frames] that are not continued."""
        n_frames = tf.shape(strengths)[1]
        mean = tf.reduce_mean(strengths, axis=1, keepdims=True)
        level = strengths - mean
        padded = tf.pad(level, [[0, 0], [0, LONGEST_LAG]])
        later = tf.gather(padded, _lags()[:, None] + tf.range(n_frames)[None, :], axis=1)
        overlap = tf.cast(tf.maximum(n_frames - _lags(), SHORTEST_LAG), tf.float32)
        products = tf.einsum("blt,bt->bl", later, level) / overlap
        square = tf.reduce_mean(tf.square(level), axis=1, keepdims=True)
        means = tf.concat([products + mean**2, square + mean**2, mean], axis=1)
        return cls(means, tf.zeros([tf.shape(strengths)[0]], tf.int32))

    def over(self, strengths: tf.Tensor) -> tuple[tf.Tensor, RunningAutocorrelation]:
        """Listens to a window from its start.

        Args:
          strengths: [batch, n_frames].

        Returns:
          The means after each of its frames [batch, n_frames, N_LAGS + 2], and what to go on with.
        """
        n_frames = tf.shape(strengths)[1]
        at = tf.range(n_frames)
        padded = tf.pad(strengths, [[0, 0], [LONGEST_LAG, 0]])
        before = tf.gather(padded, LONGEST_LAG + at[:, None] - _lags()[None, :], axis=1)
        now = strengths[..., None]
        known = at[:, None] >= _lags()[None, :]
        products = tf.where(known[None], now * before, self.means[:, None, :N_LAGS])
        news = tf.concat([products, tf.square(now), now], axis=-1)
        ages = tf.cast(at[:, None] - at[None, :], tf.float32)
        shares = tf.where(ages >= 0, (1 - _KEPT) * _KEPT ** tf.maximum(ages, 0.0), 0.0)
        kept = _KEPT ** tf.cast(at + 1, tf.float32)
        means = tf.einsum("tk,bkl->btl", shares, news) + kept[:, None] * self.means[:, None]
        return means, RunningAutocorrelation(means[:, -1], self.heard + n_frames)

    def after(self, strength: tf.Tensor, before: tf.Tensor) -> RunningAutocorrelation:
        """Returns the tempo after one more frame.

        Args:
          strength: of the frame, [batch].
          before: of those before it, the latest last, [batch, LONGEST_LAG or more].
        """
        now = strength[:, None]
        # The latest is a lag of 1: from the longest lag to the shortest, turned around.
        past = before[:, tf.shape(before)[1] - LONGEST_LAG :][:, :N_LAGS][:, ::-1]
        known = self.heard[:, None] >= _lags()[None, :]
        products = tf.where(known, now * past, self.means[:, :N_LAGS])
        news = tf.concat([products, tf.square(now), now], axis=-1)
        return RunningAutocorrelation(_KEPT * self.means + (1 - _KEPT) * news, self.heard + 1)


def correlation(means: tf.Tensor) -> tf.Tensor:
    """Returns the autocorrelation at each lag, [..., N_LAGS], -1 to 1."""
    level = tf.square(means[..., -1:])
    power = tf.maximum(means[..., -2:-1] - level, _LEAST_POWER)
    return tf.clip_by_value((means[..., :N_LAGS] - level) / power, -1.0, 1.0)


def beat(correlations: tf.Tensor) -> tf.Tensor:
    """Returns the lag of the beat in frames, int32 [...], of autocorrelations [..., N_LAGS]."""
    octaves = np.log2(np.arange(SHORTEST_LAG, LONGEST_LAG + 1) / _LIKELIEST_LAG) / _OCTAVES
    weight = tf.constant(np.exp(-0.5 * octaves**2), tf.float32)
    return SHORTEST_LAG + tf.argmax(correlations * weight, axis=-1, output_type=tf.int32)


def _lags() -> tf.Tensor:
    return tf.range(SHORTEST_LAG, LONGEST_LAG + 1)

"""How a rollout is held near the style of its primer, however long it is.

A model that hears itself wanders off: a little too loud, too even or too still in every frame adds
up. What is held are three statistics of each band over the last seconds, compared with those of the
anchor: the mean, how much the band rises from frame to frame, and its variance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

# Over how many frames the recent mean is taken, 1.5 s at the default hop, and rises and variance:
# music is livelier at times, and held over 1.5 s every rollout of a primer would be as lively.
RECENT_FRAMES, _SLOW_FRAMES = 64, 256
# A band that stands still in the anchor may move by so much, in deviations over the training split:
# a rollout that has fallen silent must be able to begin again.
_LEAST_RISE, _LEAST_VARIANCE = 1e-2, 1e-2
# How far changes are scaled at once, and deviations from the mean.
_MOST_CHANGE, _MOST_SPREAD = 2.0, 1.4
# Deviations over 1.5 s are smaller than those over what follows, which goes on elsewhere; and what
# is wanted of rises is not quite reached.
_WIDER, _LIVELIER = 1.3, 1.15
# How the next 10 s of real music differ from an anchor of 1.5 s: deviations of the first four
# coefficients of a cosine series over bands, of the mean (whose level is not let go), and of the
# logarithms of rises and of deviations. Measured on the 19 training recordings of fold 0.
_MEAN_APART = (0.0, 0.12, 0.11, 0.07)
_RISE_APART = (0.17, 0.14, 0.10, 0.09)
_SPREAD_APART = (0.24, 0.17, 0.12, 0.09)


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

    def wanted(self, seeds: tf.Tensor, variety: float) -> Style:
        """Returns what rollouts are held near, for anchors of this style.

        Music goes on otherwise than its first 1.5 s, and no two times alike: held near just them,
        all that follows one primer would be alike.

        Args:
          seeds: int64 [batch].
          variety: how much it differs from the anchor, of how much real music does.
        """
        apart = variety * tf.constant([_MEAN_APART, _RISE_APART, _SPREAD_APART])
        drawn = tf.map_fn(
            lambda seed: tf.random.stateless_normal(apart.shape, seed=[seed, 1]),
            seeds,
            fn_output_signature=tf.float32,
        )
        curves = tf.einsum("bsk,km->bsm", apart * drawn, _cosines(int(self.mean.shape[-1])))
        mean, rise, spread = tf.unstack(curves, axis=1)
        return Style(
            self.mean + mean,
            _LIVELIER * tf.exp(rise) * self.rise + _LEAST_RISE,
            tf.square(_WIDER * tf.exp(spread)) * self.variance + _LEAST_VARIANCE,
        )

    def after(self, frame: tf.Tensor, before: tf.Tensor) -> Style:
        """Returns the style after one more frame [batch, n_mels], with a fading memory."""
        news = (frame, tf.nn.relu(frame - before), tf.square(frame - self.mean))
        spans = (RECENT_FRAMES, _SLOW_FRAMES, _SLOW_FRAMES)
        parts = zip(self, news, spans, strict=True)
        return Style(*(old + (new - old) / span for old, new, span in parts))


def _cosines(n_mels: int) -> tf.Tensor:
    """Returns curves over bands of mean square 1, [4, n_mels]."""
    order = np.arange(len(_MEAN_APART))[:, None]
    curves = np.cos(np.pi * order * (np.arange(n_mels) + 0.5) / n_mels)
    return tf.constant(np.where(order > 0, np.sqrt(2), 1.0) * curves, tf.float32)


class Hold(NamedTuple):
    """How firmly a rollout is held near a style; 0 for not at all.

    Attributes:
      mean: share of the recent mean's distance from the wanted one that is taken off each frame.
      level: the same of the mean over bands alone, on top. Level drifts more than timbre, and
        holding all bands as firmly would cost diversity.
      rise: exponent of the ratio of wanted to recent rises that each change is scaled by.
      spread: exponent of the ratio of wanted to recent deviations that the distance of each frame
        from the recent mean is scaled by.
      variety: see Style.wanted.
    """

    mean: float = 0.0
    level: float = 0.0
    rise: float = 0.0
    spread: float = 0.0
    variety: float = 0.0

    def scaled(self, factor: float) -> Hold:
        """Returns this, so much firmer, and near as various a style."""
        return Hold(
            mean=factor * self.mean,
            level=factor * self.level,
            rise=factor * self.rise,
            spread=factor * self.spread,
            variety=self.variety,
        )

    @property
    def loose(self) -> bool:
        """Whether nothing is held."""
        return not any((self.mean, self.level, self.rise, self.spread))

    def change(self, wanted: Style, recent: Style) -> tf.Tensor:
        """Returns what the change of each band is scaled by, [batch, n_mels]."""
        ratio = (wanted.rise / tf.maximum(recent.rise, _LEAST_RISE)) ** self.rise
        return tf.clip_by_value(ratio, 1 / _MOST_CHANGE, _MOST_CHANGE)

    def frame(self, frame: tf.Tensor, wanted: Style, recent: Style) -> tf.Tensor:
        """Returns a frame [batch, n_mels] moved towards the wanted mean and spread."""
        wide = tf.maximum(recent.variance, _LEAST_VARIANCE)
        ratio = (wanted.variance / wide) ** (self.spread / 2)
        ratio = tf.clip_by_value(ratio, 1 / _MOST_SPREAD, _MOST_SPREAD)
        away = recent.mean - wanted.mean
        louder = tf.reduce_mean(away, axis=-1, keepdims=True)
        spread = recent.mean + ratio * (frame - recent.mean)
        return spread - self.mean * away - self.level * louder

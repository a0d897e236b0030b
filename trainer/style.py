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
# How far changes are scaled at once, and deviations from the mean.
_MOST_CHANGE, _MOST_SPREAD = 2.0, 1.4


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


class Hold(NamedTuple):
    """How firmly a rollout is held near a style; 0 for not at all.

    Attributes:
      mean: share of the recent mean's distance from the wanted one that is taken off each frame.
      level: the same of the mean over bands alone, on top. Level drifts more than timbre, and
        holding all bands as firmly would cost diversity.
      loudness: the same of the level that is heard (Normaliser.level), off every band alike, on
        top: of the mean over bands, most is of bands that add nothing to it.
      rise: exponent of the ratio of wanted to recent rises that each change is scaled by.
      spread: exponent of the ratio of wanted to recent deviations that the distance of each frame
        from the recent mean is scaled by.
      variety: how far what is wanted departs from the anchor, of how far real music does.
    """

    mean: float = 0.0
    level: float = 0.0
    loudness: float = 0.0
    rise: float = 0.0
    spread: float = 0.0
    variety: float = 0.0

    def scaled(self, factor: float) -> Hold:
        """Returns this, so much firmer, and near as various a style."""
        return Hold(
            mean=factor * self.mean,
            level=factor * self.level,
            loudness=factor * self.loudness,
            rise=factor * self.rise,
            spread=factor * self.spread,
            variety=self.variety,
        )

    @property
    def loose(self) -> bool:
        """Whether nothing is held."""
        return not any((self.mean, self.level, self.loudness, self.rise, self.spread))

    def change(self, wanted: Style, recent: Style) -> tf.Tensor:
        """Returns what the change of each band is scaled by, [batch, n_mels]."""
        ratio = (wanted.rise / tf.maximum(recent.rise, LEAST_RISE)) ** self.rise
        return tf.clip_by_value(ratio, 1 / _MOST_CHANGE, _MOST_CHANGE)

    def frame(self, frame: tf.Tensor, wanted: Style, recent: Style) -> tf.Tensor:
        """Returns a frame [batch, n_mels] moved towards the wanted mean and spread."""
        wide = tf.maximum(recent.variance, LEAST_VARIANCE)
        ratio = (wanted.variance / wide) ** (self.spread / 2)
        ratio = tf.clip_by_value(ratio, 1 / _MOST_SPREAD, _MOST_SPREAD)
        away = recent.mean - wanted.mean
        louder = tf.reduce_mean(away, axis=-1, keepdims=True)
        spread = recent.mean + ratio * (frame - recent.mean)
        return spread - self.mean * away - self.level * louder

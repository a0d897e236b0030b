"""Keeps the rollouts of a batch near where their styles walk to, and as loud as their anchors."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from trainer.data.normaliser import Normaliser
from trainer.style.drift import StyleDrift
from trainer.style.statistics import LEAST_RISE, LEAST_VARIANCE, RECENT_FRAMES, Style

# How far changes are scaled at once, and deviations from the mean.
_MOST_CHANGE, _MOST_SPREAD = 2.0, 1.4


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


class Recent(NamedTuple):
    """What a rollout was like over its last seconds.

    Attributes:
      style: of its frames.
      level: mean of Normaliser.level, nats [batch, 1].
    """

    style: Style
    level: tf.Tensor


class StyleControl:
    """Compares what a rollout was like with what is wanted, and moves its next frame by a little.

    A hold that is loose moves nothing, and nothing is remembered.
    """

    def __init__(
        self, hold: Hold, style_drift: StyleDrift, normaliser: Normaliser, anchor: tf.Tensor
    ) -> None:
        """Takes normalised frames [batch, n, n_mels] that show the style of each rollout."""
        self._hold, self._style_drift, self._normaliser = hold, style_drift, normaliser
        self._anchor = Style.of(anchor)
        self._level_gradient = normaliser.level_gradient(self._anchor.mean)
        self._level = tf.reduce_mean(normaliser.level(anchor), axis=1)

    def wanted(self, away: tf.Tensor) -> Style:
        """Returns what is held near at a step [batch, 3, 4] of StyleDrift.walks."""
        return self._style_drift.wanted(
            self._anchor, self._hold.variety * away, level_gradient=self._level_gradient
        )

    def begin(self, primer: tf.Tensor, wanted: Style) -> Recent:
        """Returns what rollouts are like that follow primers [batch, n, n_mels].

        How much they moved is taken to be as wanted: a primer may be one frame, which says nothing
        of that.
        """
        last = primer[:, -RECENT_FRAMES:]
        return Recent(
            wanted._replace(mean=tf.reduce_mean(last, axis=1)),
            tf.reduce_mean(self._normaliser.level(last), axis=1),
        )

    def change(self, wanted: Style, recent: Recent) -> tf.Tensor | None:
        """Returns what the change of each band is scaled by, [batch, n_mels]; None for nothing."""
        return None if self._hold.loose else self._hold.change(wanted, recent.style)

    def frame(self, frame: tf.Tensor, wanted: Style, recent: Recent) -> tf.Tensor:
        """Returns a frame [batch, n_mels] moved towards what is wanted."""
        if self._hold.loose:
            return frame
        frame = self._hold.frame(frame, wanted, recent.style)
        # As many decibels off every band.
        return frame - self._hold.loudness * (recent.level - self._level) / self._normaliser.std

    def after(self, recent: Recent, frame: tf.Tensor, before: tf.Tensor) -> Recent:
        """Returns what rollouts were like after one more frame [batch, n_mels]."""
        if self._hold.loose:
            return recent
        level = recent.level + (self._normaliser.level(frame) - recent.level) / RECENT_FRAMES
        return Recent(recent.style.after(frame, before), level)

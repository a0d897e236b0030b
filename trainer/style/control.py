"""Keeps rollouts near their target styles and as loud as their anchors."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from trainer.data.normaliser import Normaliser
from trainer.style.drift import StyleDrift
from trainer.style.statistics import MIN_RISE, MIN_VARIANCE, RECENT_FRAMES, Style

# Largest factor by which the change of a band is scaled in one frame.
_MAX_CHANGE_SCALE = 2.0
# Largest factor by which a band's distance from its recent mean is scaled in one frame.
_MAX_SPREAD_SCALE = 1.4


class Hold(NamedTuple):
    """How firmly a rollout is held near its target style; 0 everywhere leaves it alone.

    Attributes:
      mean: Share of the recent mean's distance from the target that is taken off each frame.
      level: The same for the mean over bands, in addition. The level drifts more than timbre does,
        and holding all bands as firmly would cost diversity.
      loudness: The same for the level of the summed power (Normaliser.level), off every band
        alike, in addition: the mean over bands consists mostly of bands too quiet to be heard.
      rise: Exponent of (target rise / recent rise), by which each change is scaled.
      spread: Exponent of (target deviation / recent deviation), by which the distance of each frame
        from the recent mean is scaled.
      variety: How far the target drifts from the anchor, relative to real music.
    """

    mean: float = 0.0
    level: float = 0.0
    loudness: float = 0.0
    rise: float = 0.0
    spread: float = 0.0
    variety: float = 0.0

    def scaled(self, factor: float) -> Hold:
        """Returns a hold that is firmer by a factor, with the same variety."""
        return Hold(*(factor * firmness for firmness in self[:-1]))._replace(variety=self.variety)

    @property
    def is_off(self) -> bool:
        """Whether nothing is held."""
        return not any(self[:-1])


class RecentStyle(NamedTuple):
    """What a rollout was like over its last seconds.

    Attributes:
      style: Style of its frames.
      level: Mean of Normaliser.level, nats [batch, 1].
    """

    style: Style
    level: tf.Tensor


class StyleControl:
    """Compares the recent style of rollouts with their target and corrects the next frame a little.

    If the hold is off, it corrects nothing and keeps no statistics.

    Args:
      hold: How firmly rollouts are held.
      style_drift: How target styles drift.
      normaliser: The model's normaliser.
      anchor: Normalised frames that show the style of each rollout, [batch, n, n_mels].
    """

    def __init__(
        self, hold: Hold, style_drift: StyleDrift, normaliser: Normaliser, anchor: tf.Tensor
    ) -> None:
        self._hold, self._style_drift, self._normaliser = hold, style_drift, normaliser
        self._anchor = Style.measure(anchor)
        self._level_gradient = normaliser.level_gradient(self._anchor.mean)
        self._level = tf.reduce_mean(normaliser.level(anchor), axis=1)

    def target_style(self, drift: tf.Tensor) -> Style:
        """Returns the target at one step [batch, 3, 4] of StyleDrift.random_walks."""
        return self._style_drift.target_style(
            self._anchor, self._hold.variety * drift, level_gradient=self._level_gradient
        )

    def start(self, primer: tf.Tensor, target: Style) -> RecentStyle:
        """Returns the recent style at the end of primers [batch, n, n_mels].

        Rises and variances start at their target: a primer may be a single frame, which does not
        show them.
        """
        last = primer[:, -RECENT_FRAMES:]
        return RecentStyle(
            target._replace(mean=tf.reduce_mean(last, axis=1)),
            tf.reduce_mean(self._normaliser.level(last), axis=1),
        )

    def change_scale(self, target: Style, recent: RecentStyle) -> tf.Tensor | None:
        """Returns the factor for the change of each band, [batch, n_mels]; None if off."""
        if self._hold.is_off:
            return None
        ratio = (target.rise / tf.maximum(recent.style.rise, MIN_RISE)) ** self._hold.rise
        return tf.clip_by_value(ratio, 1 / _MAX_CHANGE_SCALE, _MAX_CHANGE_SCALE)

    def correct(self, frame: tf.Tensor, target: Style, recent: RecentStyle) -> tf.Tensor:
        """Moves a frame [batch, n_mels] towards the target style and the anchor's level."""
        hold, (mean, _, variance) = self._hold, recent.style
        if hold.is_off:
            return frame
        ratio = (target.variance / tf.maximum(variance, MIN_VARIANCE)) ** (hold.spread / 2)
        ratio = tf.clip_by_value(ratio, 1 / _MAX_SPREAD_SCALE, _MAX_SPREAD_SCALE)
        offset = mean - target.mean
        frame = mean + ratio * (frame - mean) - hold.mean * offset
        frame -= hold.level * tf.reduce_mean(offset, axis=-1, keepdims=True)
        # Dividing by the deviations takes the same number of decibels off every band.
        return frame - hold.loudness * (recent.level - self._level) / self._normaliser.std

    def update(self, recent: RecentStyle, frame: tf.Tensor, previous: tf.Tensor) -> RecentStyle:
        """Returns the recent style after one more frame [batch, n_mels]."""
        if self._hold.is_off:
            return recent
        level = recent.level + (self._normaliser.level(frame) - recent.level) / RECENT_FRAMES
        return RecentStyle(recent.style.update(frame, previous), level)

"""Keeps the rollouts of a batch near where their styles walk to, and as loud as their anchors."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from trainer.departures import Departures
from trainer.normalise import Normaliser
from trainer.style import RECENT_FRAMES, Hold, Style


class Recent(NamedTuple):
    """What a rollout was like over its last seconds.

    Attributes:
      style: of its frames.
      level: mean of Normaliser.level, nats [batch, 1].
    """

    style: Style
    level: tf.Tensor


class Keeper:
    """Compares what a rollout was like with what is wanted, and moves its next frame by a little.

    A hold that is loose moves nothing, and nothing is remembered.
    """

    def __init__(
        self, hold: Hold, departures: Departures, normaliser: Normaliser, anchor: tf.Tensor
    ) -> None:
        """Takes normalised frames [batch, n, n_mels] that show the style of each rollout."""
        self._hold, self._departures, self._normaliser = hold, departures, normaliser
        self._anchor = Style.of(anchor)
        self._level_gradient = normaliser.level_gradient(self._anchor.mean)
        self._level = tf.reduce_mean(normaliser.level(anchor), axis=1)

    def wanted(self, away: tf.Tensor) -> Style:
        """Returns what is held near at a step [batch, 3, 4] of Departures.walks."""
        return self._departures.wanted(
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

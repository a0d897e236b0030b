"""How the style of music departs from where it began: measured on training music, drawn per seed.

Music goes on otherwise than its first 1.5 s, and no two times alike; held near just them, all that
follows one primer would be alike, and a minute of it would stand still. What a rollout is held near
therefore walks away from the anchor's style, at random, by as much as training recordings differ
from an anchor. Part of that is the anchor's own chance and stays while a recording goes on; here
all of it walks, so a rollout moves within a minute more than a steady piece does.
"""

from __future__ import annotations

from collections.abc import Iterable

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.style.statistics import LEAST_RISE, LEAST_VARIANCE, Style

# Over how many frames a passage is measured, and a walk forgets where it was; 6 and 12 s at the
# default hop. Passages of 3 s correlate by 0.7 at 3 s, 0.5 at 6 and 0.25 at 12, which is 9 s; a
# rollout wanders a little by itself.
_PASSAGE_FRAMES, _MEMORY_FRAMES = 256, 500
# Of each statistic over bands: level, tilt and two finer shapes.
_ORDER = 4
# What is wanted of rises is not quite reached.
_LIVELIER = 1.1
# Within a deviation of the mean lie these percentiles of a normal distribution.
_WITHIN = (15.87, 84.13)
# The level of the mean is not let go.
_LET_GO = np.array([0, 1, 1, 1], np.float32)


class StyleDrift(keras.layers.Layer):
    """Deviations of the coefficients of a cosine series over bands, and how they walk.

    The coefficients are of the mean, of the logarithm of rises and of that of deviations, each over
    those of the anchor.

    Attributes:
      usual: medians of the levels of rises and of deviations, for the last passages, [2].
      near: deviations right after an anchor, [3, 4].
      far: the same where the stretches that are stored end, [3, 4].
    """

    def __init__(self, n_mels: int, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.n_mels = n_mels
        for name, shape in {
            "median_shift": (2,),
            "initial_spread": (3, _ORDER),
            "final_spread": (3, _ORDER),
        }.items():
            weight = self.add_weight(shape=shape, initializer="zeros", trainable=False, name=name)
            setattr(self, name, weight)
        self.curves = _cosines(n_mels)
        self.built = True

    def prepare(self, stretches: Iterable[npt.NDArray[np.floating]], *, anchor_frames: int) -> None:
        """Measures music that goes on: normalised stretches [n_frames, n_mels].

        Each is also heard backwards, for twice as many anchors. Where none is as long as an anchor
        and a passage, nothing is known, and nothing departs.
        """
        first, last = [], []
        for stretch in stretches:
            for way in (1, -1):
                found = self._departures(stretch[::way].astype(np.float32), anchor_frames)
                first.extend(found[:1])
                last.extend(found[-1:])
        if not first:
            return
        for weight, found in ((self.initial_spread, first), (self.final_spread, last)):
            low, high = np.percentile(found, _WITHIN, axis=0)
            weight.assign((high - low) / 2)
        self.median_shift.assign(np.percentile(last, 50, axis=0)[1:, 0])

    def _departures(
        self, stretch: npt.NDArray[np.float32], anchor_frames: int
    ) -> list[npt.NDArray[np.float32]]:
        n_passages = (len(stretch) - anchor_frames) // _PASSAGE_FRAMES
        if n_passages < 1:
            return []
        passages = stretch[anchor_frames : anchor_frames + n_passages * _PASSAGE_FRAMES]
        anchor = Style.of(stretch[None, :anchor_frames])
        then = Style.of(passages.reshape(n_passages, _PASSAGE_FRAMES, self.n_mels))
        apart = [
            then.mean - anchor.mean,
            tf.math.log((then.rise + LEAST_RISE) / (anchor.rise + LEAST_RISE)),
            tf.math.log((then.variance + LEAST_VARIANCE) / (anchor.variance + LEAST_VARIANCE)) / 2,
        ]
        return list(np.stack(apart, axis=1) @ self.curves.numpy().T / self.n_mels)

    def random_walks(self, seeds: tf.Tensor, *, n_steps: tf.Tensor, step_frames: int) -> tf.Tensor:
        """Returns how far coefficients are from usual, float32 [n_steps, batch, 3, 4].

        An autoregressive walk of first order, which begins as wide as `near` and becomes as wide as
        `far`.

        Args:
          seeds: int64 [batch]; a walk follows from its own alone.
          n_steps: int32 [].
          step_frames: how many frames a step is.
        """
        kept = float(np.exp(-step_frames / _MEMORY_FRAMES))
        drawn = tf.map_fn(
            lambda seed: tf.random.stateless_normal([n_steps, 3, _ORDER], seed=[seed, 1]),
            seeds,
            fn_output_signature=tf.float32,
        )
        drawn = tf.transpose(drawn, [1, 0, 2, 3])
        news = [
            self.initial_spread * drawn[:1],
            (1 - kept**2) ** 0.5 * self.final_spread * drawn[1:],
        ]
        # All steps are scanned: TensorFlow has no scan over none, which a short rollout would be.
        joined = tf.concat(news, axis=0)
        return tf.scan(lambda before, new: kept * before + new, joined, tf.zeros_like(joined[0]))

    def wanted(self, anchor: Style, away: tf.Tensor, *, level_gradient: tf.Tensor) -> Style:
        """Returns what a rollout is held near at one step of its walk.

        Timbre walks; loudness does not: a clip that fades in or out is not wanted.

        Args:
          anchor: the style that is departed from.
          away: a step of walks, [batch, 3, 4].
          level_gradient: see Normaliser, of the anchor's mean, [batch, n_mels].
        """
        mean, rise, spread = tf.unstack(away, axis=1)
        # Of what walks, that which makes the anchor louder is taken off where music varies most.
        louder = tf.reduce_sum(level_gradient[:, None] * self.curves, axis=-1) * _LET_GO
        back = louder * tf.square(self.final_spread[0])
        size = tf.reduce_sum(louder * back, axis=-1, keepdims=True)
        by = tf.reduce_sum(louder * mean, axis=-1, keepdims=True)
        mean = _LET_GO * mean - tf.math.divide_no_nan(by, size) * back
        livelier, wider = tf.unstack(self.median_shift)
        return Style(
            anchor.mean + self._over_bands(mean),
            _LIVELIER * tf.exp(livelier + self._over_bands(rise)) * anchor.rise + LEAST_RISE,
            tf.exp(2 * (wider + self._over_bands(spread))) * anchor.variance + LEAST_VARIANCE,
        )

    def _over_bands(self, coefficients: tf.Tensor) -> tf.Tensor:
        """Returns the curves [batch, n_mels] of coefficients [batch, 4]."""
        # Not a product of matrices, whose rounding hangs on the size of the batch.
        return tf.reduce_sum(coefficients[..., None] * self.curves, axis=1)


def _cosines(n_mels: int) -> tf.Tensor:
    """Returns curves over bands of mean square 1, [4, n_mels]."""
    order = np.arange(_ORDER)[:, None]
    curves = np.cos(np.pi * order * (np.arange(n_mels) + 0.5) / n_mels)
    return tf.constant(np.where(order > 0, np.sqrt(2), 1.0) * curves, tf.float32)

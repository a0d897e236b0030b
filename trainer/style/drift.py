"""How the style of music drifts away from an anchor: measured in training, drawn for each clip.

Music changes after its first 1.5 s, and differently each time. If a rollout were held to the style
of its primer, every continuation would sound alike and a minute of it would stand still. So the
target style itself drifts: a random walk around the anchor's style, as wide as passages of training
recordings differ from an anchor of their own. Part of that difference is chance in the anchor and
constant within a recording; here all of it walks, so a rollout changes more within a minute than a
steady piece does.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.style.statistics import MIN_RISE, MIN_VARIANCE, Style

# Frames of the passages that are compared with an anchor: 6 s at the default hop.
_PASSAGE_FRAMES = 256
# Frames after which a walk remembers 1 / e: 12 s at the default hop. Passages of 3 s of real pieces
# correlate by 0.7 at a distance of 3 s, 0.5 at 6 s and 0.25 at 12 s, which is a memory of 9 s; a
# rollout also wanders by itself (docs/lab/experiments.md, 2026-11-26).
_MEMORY_FRAMES = 500
# Coefficients of a cosine series over bands: level, tilt and two finer shapes.
_ORDER = 4
# Target rises are raised by this factor, because rollouts fall slightly short of them.
_RISE_FACTOR = 1.1
# Percentiles one standard deviation below and above the mean of a normal distribution.
_DEVIATION_PERCENTILES = (15.87, 84.13)
# Coefficients of the mean that may drift: timbre, but not the level.
_TIMBRE = np.array([0, 1, 1, 1], np.float32)


class StyleDrift(keras.layers.Layer):
    """Random walks of the target style, as coefficients of a cosine series over bands.

    There are three series: the mean, the logarithm of rises and the logarithm of deviations, each
    relative to the anchor's.

    Attributes:
      median_shift: Median level of the last two series in the last passages of chunks, [2]: how
        much livelier and wider music becomes than its anchor.
      initial_spread: Deviation of the coefficients in the first passage after an anchor, [3, 4].
      final_spread: The same in the last passage of a chunk, [3, 4].
      curves: The cosines over bands, each with a mean square of 1, [4, n_mels].
    """

    def __init__(self, n_mels: int, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.n_mels = n_mels
        add = functools.partial(self.add_weight, initializer="zeros", trainable=False)
        self.median_shift = add(shape=(2,), name="median_shift")
        self.initial_spread = add(shape=(3, _ORDER), name="initial_spread")
        self.final_spread = add(shape=(3, _ORDER), name="final_spread")
        order = np.arange(_ORDER)[:, None]
        cosines = np.cos(np.pi * order * (np.arange(n_mels) + 0.5) / n_mels)
        self.curves = tf.constant(np.where(order > 0, np.sqrt(2), 1.0) * cosines, tf.float32)
        self.built = True

    def adapt(self, chunks: Iterable[npt.NDArray[np.floating]], *, anchor_frames: int) -> None:
        """Measures how music drifts in normalised chunks [n_frames, n_mels].

        Each chunk is also measured backwards, which doubles the number of anchors. If no chunk is
        as long as an anchor and a passage, all weights stay 0 and nothing will drift.
        """
        first, last = [], []
        for chunk in chunks:
            for direction in (1, -1):
                drifts = self._measure(chunk[::direction].astype(np.float32), anchor_frames)
                first.extend(drifts[:1])
                last.extend(drifts[-1:])
        if not first:
            return
        for weight, drifts in ((self.initial_spread, first), (self.final_spread, last)):
            # Half the distance between percentiles: a few fades would dominate a true deviation.
            low, high = np.percentile(drifts, _DEVIATION_PERCENTILES, axis=0)
            weight.assign((high - low) / 2)
        self.median_shift.assign(np.percentile(last, 50, axis=0)[1:, 0])

    def _measure(
        self, chunk: npt.NDArray[np.float32], anchor_frames: int
    ) -> list[npt.NDArray[np.float32]]:
        """Returns the coefficients [3, 4] of each passage after the anchor that begins a chunk."""
        n_passages = (len(chunk) - anchor_frames) // _PASSAGE_FRAMES
        if n_passages < 1:
            return []
        frames = chunk[anchor_frames : anchor_frames + n_passages * _PASSAGE_FRAMES]
        anchor = Style.measure(chunk[None, :anchor_frames])
        passages = Style.measure(frames.reshape(n_passages, _PASSAGE_FRAMES, self.n_mels))
        variance_ratio = (passages.variance + MIN_VARIANCE) / (anchor.variance + MIN_VARIANCE)
        differences = [
            passages.mean - anchor.mean,
            tf.math.log((passages.rise + MIN_RISE) / (anchor.rise + MIN_RISE)),
            tf.math.log(variance_ratio) / 2,
        ]
        return list(np.stack(differences, axis=1) @ self.curves.numpy().T / self.n_mels)

    def random_walks(self, seeds: tf.Tensor, *, n_steps: tf.Tensor, step_frames: int) -> tf.Tensor:
        """Returns how far the coefficients are from their medians, float32 [n_steps, batch, 3, 4].

        A first-order autoregression that starts with a deviation of initial_spread n[0] and
        approaches final_spread, n being standard normal:

          x[0] = initial_spread n[0],   x[i+1] = keep x[i] + sqrt(1 - keep²) final_spread n[i+1]

        Args:
          seeds: int64 [batch]; a walk depends on its own seed alone.
          n_steps: Number of steps, int32 [].
          step_frames: Frames of one step.
        """
        keep = float(np.exp(-step_frames / _MEMORY_FRAMES))
        noise = tf.map_fn(
            lambda seed: tf.random.stateless_normal([n_steps, 3, _ORDER], seed=[seed, 1]),
            seeds,
            fn_output_signature=tf.float32,
        )
        noise = tf.transpose(noise, [1, 0, 2, 3])
        start = self.initial_spread * noise[:1]
        # The start is scanned with the other steps: tf.scan does not accept none, as in a rollout
        # of one step.
        steps = tf.concat([start, (1 - keep**2) ** 0.5 * self.final_spread * noise[1:]], axis=0)
        return tf.scan(lambda x, step: keep * x + step, steps, tf.zeros_like(steps[0]))

    def target_style(self, anchor: Style, drift: tf.Tensor, *, level_gradient: tf.Tensor) -> Style:
        """Returns the style that a rollout is held near at one step of its walk.

        Timbre drifts, loudness does not, so that clips do not fade in or out. The drift x of the
        mean's coefficients changes the level by about g.x, with g the level's derivative by the
        coefficients. What it changes is projected out, along the direction v = final_spread² g in
        which music varies most:

          x' = x - v (g.x) / (g.v),   so that   g.x' = 0

        Args:
          anchor: Style of the anchor.
          drift: One step of random_walks, [batch, 3, 4].
          level_gradient: Normaliser.level_gradient at the anchor's mean, [batch, n_mels].
        """
        mean, rise, spread = tf.unstack(drift, axis=1)
        gradient = tf.reduce_sum(level_gradient[:, None] * self.curves, axis=-1) * _TIMBRE
        direction = gradient * tf.square(self.final_spread[0])
        level_by_direction = tf.reduce_sum(gradient * direction, axis=-1, keepdims=True)
        level_by_drift = tf.reduce_sum(gradient * mean, axis=-1, keepdims=True)
        share = tf.math.divide_no_nan(level_by_drift, level_by_direction)
        mean = _TIMBRE * mean - share * direction
        rise_shift, spread_shift = tf.unstack(self.median_shift)
        rise_factor = _RISE_FACTOR * tf.exp(rise_shift + self._over_bands(rise))
        variance_factor = tf.exp(2 * (spread_shift + self._over_bands(spread)))
        return Style(
            anchor.mean + self._over_bands(mean),
            rise_factor * anchor.rise + MIN_RISE,
            variance_factor * anchor.variance + MIN_VARIANCE,
        )

    def _over_bands(self, coefficients: tf.Tensor) -> tf.Tensor:
        """Returns the series [batch, n_mels] with coefficients [batch, 4]."""
        # Not a matrix product, whose rounding depends on the size of the batch.
        return tf.reduce_sum(coefficients[..., None] * self.curves, axis=1)

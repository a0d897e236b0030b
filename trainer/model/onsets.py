"""Onsets: how much a frame rises over the one before it, as a number and as a class."""

from __future__ import annotations

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

_SMALLEST_RISE = 1e-3
# Beyond all strengths, in deviations; and the most that a rise is scaled by to be of its class.
_FAR, _MOST_SCALED = 100.0, 4.0


class Onsets(keras.layers.Layer):
    """Onset strength: the logarithm of a frame's mean rise, standardised over the training split.

    Attributes:
      n_classes: equally likely classes of strength.
      centres: the median strength of each class, [n_classes].

    References:
      Boeck and Widmer, "Maximum filter vibrato suppression for onset detection", 2013: spectral
        flux, the sum of rises.
    """

    def __init__(self, n_classes: int, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.n_classes = n_classes
        for name, shape in (
            ("centre", ()),
            ("deviation", ()),
            ("edges", (n_classes - 1,)),
            ("centres", (n_classes,)),
        ):
            start = "ones" if name == "deviation" else "zeros"
            weight = self.add_weight(shape=shape, initializer=start, trainable=False, name=name)
            setattr(self, name, weight)
        self.built = True

    def prepare(self, frames: npt.NDArray[np.floating]) -> None:
        """Measures strengths on normalised windows [n, n_frames, n_mels]."""
        rises = _log_rise(tf.constant(frames, tf.float32)).numpy().astype(np.float64)
        self.centre.assign(rises.mean())
        self.deviation.assign(max(float(rises.std()), 1e-3))
        strengths = (rises - rises.mean()) / max(float(rises.std()), 1e-3)
        marks = np.quantile(strengths, np.arange(1, 2 * self.n_classes) / (2 * self.n_classes))
        self.edges.assign(marks[1::2])
        self.centres.assign(marks[::2])

    def strength(self, before: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
        """Returns strengths [...] of frames [..., n_mels] that follow the frames before them."""
        return (_rise(before, frames) - self.centre) / self.deviation

    def strengths(self, frames: tf.Tensor) -> tf.Tensor:
        """Returns strengths [batch, n_frames] of windows; the first frame's is the mean, 0."""
        strengths = self.strength(frames[:, :-1], frames[:, 1:])
        return tf.concat([tf.zeros_like(frames[:, :1, 0]), strengths], axis=1)

    def classes(self, strengths: tf.Tensor) -> tf.Tensor:
        """Returns int32 classes [...] of strengths [...]."""
        return tf.reduce_sum(tf.cast(strengths[..., None] >= self.edges, tf.int32), axis=-1)

    def impose(self, before: tf.Tensor, frames: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        """Returns frames whose onsets are of these classes: what rises in them is scaled for it.

        A frame that is of its class already stays as it is; others go to the class's nearest edge.

        Args:
          before: the frames before them, [batch, n_mels].
          frames: [batch, n_mels].
          classes: int32 [batch].
        """
        edges = tf.convert_to_tensor(self.edges)
        far = tf.fill([1], _FAR)
        lowest = tf.gather(tf.concat([-far, edges], axis=0), classes)
        highest = tf.gather(tf.concat([edges, far], axis=0), classes)
        strength = self.strength(before, frames)
        missing = tf.clip_by_value(strength, lowest, highest) - strength
        scale = tf.clip_by_value(tf.exp(self.deviation * missing), 1 / _MOST_SCALED, _MOST_SCALED)
        return frames + (scale - 1)[:, None] * tf.nn.relu(frames - before)


def _rise(before: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
    rise = tf.reduce_mean(tf.nn.relu(frames - before), axis=-1)
    return tf.math.log(rise + _SMALLEST_RISE)


def _log_rise(frames: tf.Tensor) -> tf.Tensor:
    return _rise(frames[:, :-1], frames[:, 1:])

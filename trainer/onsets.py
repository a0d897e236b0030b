"""Onsets: how much a frame rises over the one before it, as a number, a class and a beat."""

from __future__ import annotations

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

# Lags in frames, 0.19 to 1.1 s at the default hop: from sixteenths to slow beats.
SHORTEST_LAG, LONGEST_LAG = 8, 48
# Where beats are likeliest, 0.5 s, and how far around, in octaves (Ellis, 2007).
_LIKELIEST_LAG, _OCTAVES = 21.5, 1.0
_SMALLEST_RISE = 1e-3


class Onsets(keras.layers.Layer):
    """Onset strength: the logarithm of a frame's mean rise, standardised over the training split.

    Attributes:
      n_classes: equally likely classes of strength.
      centres: the median strength of each class, [n_classes].

    References:
      Boeck and Widmer, "Maximum filter vibrato suppression for onset detection", 2013: spectral
        flux, the sum of rises. Ellis, "Beat tracking by dynamic programming", 2007: beats from its
        autocorrelation, weighted by how likely a tempo is.
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


def _rise(before: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
    rise = tf.reduce_mean(tf.nn.relu(frames - before), axis=-1)
    return tf.math.log(rise + _SMALLEST_RISE)


def _log_rise(frames: tf.Tensor) -> tf.Tensor:
    return _rise(frames[:, :-1], frames[:, 1:])


def beat(strengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Estimates the beat of stretches from the autocorrelation of their onset strengths.

    Args:
      strengths: float32 [batch, n_frames].

    Returns:
      The lag in frames, int32 [batch], and its autocorrelation, float32 [batch] in [-1, 1].
    """
    n_frames = tf.shape(strengths)[1]
    lags = tf.range(SHORTEST_LAG, LONGEST_LAG + 1)
    level = strengths - tf.reduce_mean(strengths, axis=1, keepdims=True)
    padded = tf.pad(level, [[0, 0], [0, LONGEST_LAG]])
    later = tf.gather(padded, lags[:, None] + tf.range(n_frames)[None, :], axis=1)
    power = tf.reduce_mean(tf.square(level), axis=1, keepdims=True)
    overlap = tf.cast(tf.maximum(n_frames - lags, SHORTEST_LAG), tf.float32)
    correlation = tf.einsum("blt,bt->bl", later, level) / overlap / tf.maximum(power, 1e-6)
    octaves = np.log2(np.arange(SHORTEST_LAG, LONGEST_LAG + 1) / _LIKELIEST_LAG) / _OCTAVES
    weight = tf.constant(np.exp(-0.5 * octaves**2), tf.float32)
    best = tf.argmax(correlation * weight, axis=1, output_type=tf.int32)
    certainty = tf.gather(correlation, best, axis=1, batch_dims=1)
    return lags[0] + best, tf.clip_by_value(certainty, -1.0, 1.0)

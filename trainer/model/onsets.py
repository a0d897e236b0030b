"""Onsets: how much a frame rises above the one before it, as a strength and as a class."""

from __future__ import annotations

import functools

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

# Added to a mean rise before its logarithm is taken, in normalised units.
_RISE_OFFSET = 1e-3
# Lower limit of the deviation of the logarithm of rises, nats.
_MIN_DEVIATION = 1e-3
# Stands for infinity as the edge of the outermost classes, in deviations.
_FAR = 100.0
# Upper limit of the factor that scales a rise into its class.
_MAX_SCALE = 4.0


class Onsets(keras.layers.Layer):
    """Onset strength: the logarithm of a frame's mean rise, standardised over the training split.

    Attributes:
      n_classes: Number of classes of strength, equally likely over the training split.
      mean: Mean of the logarithm of mean rises, [].
      deviation: Standard deviation of the same, [].
      class_edges: Strengths between neighbouring classes, [n_classes - 1].
      class_medians: Median strength of each class, [n_classes].

    References:
      Boeck and Widmer, "Maximum filter vibrato suppression for onset detection", 2013: spectral
        flux, the sum of rises.
    """

    def __init__(self, n_classes: int, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.n_classes = n_classes
        add = functools.partial(self.add_weight, trainable=False)
        self.mean = add(shape=(), initializer="zeros", name="mean")
        self.deviation = add(shape=(), initializer="ones", name="deviation")
        self.class_edges = add(shape=(n_classes - 1,), initializer="zeros", name="class_edges")
        self.class_medians = add(shape=(n_classes,), initializer="zeros", name="class_medians")
        self.built = True

    def adapt(self, frames: npt.NDArray[np.floating]) -> None:
        """Measures strengths on normalised windows [n, n_frames, n_mels]."""
        frames = tf.constant(frames, tf.float32)
        log_rises = _log_rise(frames[:, :-1], frames[:, 1:]).numpy().astype(np.float64)
        mean, deviation = log_rises.mean(), max(float(log_rises.std()), _MIN_DEVIATION)
        shares = np.arange(1, 2 * self.n_classes) / (2 * self.n_classes)
        quantiles = np.quantile((log_rises - mean) / deviation, shares)
        self.mean.assign(mean)
        self.deviation.assign(deviation)
        self.class_edges.assign(quantiles[1::2])
        self.class_medians.assign(quantiles[::2])

    def strength(self, previous: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
        """Returns the strengths [...] of frames [..., n_mels] that follow previous frames."""
        return (_log_rise(previous, frames) - self.mean) / self.deviation

    def strengths(self, frames: tf.Tensor) -> tf.Tensor:
        """Returns the strengths [batch, n_frames] of windows; the first frame's is the mean, 0."""
        strengths = self.strength(frames[:, :-1], frames[:, 1:])
        return tf.concat([tf.zeros_like(frames[:, :1, 0]), strengths], axis=1)

    def classes(self, strengths: tf.Tensor) -> tf.Tensor:
        """Returns the classes, int32 [...], of strengths [...]."""
        return tf.reduce_sum(tf.cast(strengths[..., None] >= self.class_edges, tf.int32), axis=-1)

    def impose_class(self, previous: tf.Tensor, frames: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        """Scales the rises of frames so that their onsets belong to the given classes.

        A frame that belongs to its class already is not changed; others get a strength at the
        nearest edge of the class.

        Args:
          previous: The frames before, [batch, n_mels].
          frames: [batch, n_mels].
          classes: int32 [batch].
        """
        edges = tf.convert_to_tensor(self.class_edges)
        far = tf.fill([1], _FAR)
        lowest = tf.gather(tf.concat([-far, edges], axis=0), classes)
        highest = tf.gather(tf.concat([edges, far], axis=0), classes)
        strength = self.strength(previous, frames)
        missing = tf.clip_by_value(strength, lowest, highest) - strength
        scale = tf.clip_by_value(tf.exp(self.deviation * missing), 1 / _MAX_SCALE, _MAX_SCALE)
        return frames + (scale - 1)[:, None] * tf.nn.relu(frames - previous)


def _log_rise(previous: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
    """Returns the logarithm of the rise of frames over previous ones, averaged over bands."""
    rise = tf.reduce_mean(tf.nn.relu(frames - previous), axis=-1)
    return tf.math.log(rise + _RISE_OFFSET)

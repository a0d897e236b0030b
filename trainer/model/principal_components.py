"""Whitened principal components of frames, and how they change from frame to frame."""

from __future__ import annotations

import functools

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

# A component with less than this share of the largest variance is rounding error.
_MIN_VARIANCE_SHARE = 1e-8
# Lower limit of an innovation's deviation, in deviations of the component.
_MIN_INNOVATION_SCALE = 1e-3


class PrincipalComponents(keras.layers.Layer):
    """Frames as whitened principal components: z = (frame - centre) @ basis.

    Over the training split each component has unit variance; the first one had the largest before.

    Attributes:
      persistence: Correlation of each component with itself one frame earlier, [n_dims], measured
        as 1 - var(z[t] - z[t-1]) / (2 var(z)). A first-order autoregression guesses z[t+1] to be
        persistence * z[t].
      innovation_scale: Deviation of what that guess misses (the innovation), [n_dims].
    """

    def __init__(self, n_mels: int, n_dims: int, **kwargs: object) -> None:
        super().__init__(**kwargs)
        n_dims = min(n_dims, n_mels)
        self.n_mels, self.n_dims = n_mels, n_dims
        add = functools.partial(self.add_weight, trainable=False)
        self.centre = add(shape=(n_mels,), initializer="zeros", name="centre")
        self.basis = add(shape=(n_mels, n_dims), initializer="zeros", name="basis")
        self.inverse = add(shape=(n_dims, n_mels), initializer="zeros", name="inverse")
        self.persistence = add(shape=(n_dims,), initializer="zeros", name="persistence")
        self.innovation_scale = add(shape=(n_dims,), initializer="ones", name="innovation_scale")
        self.built = True

    def adapt(self, frames: npt.NDArray[np.floating]) -> None:
        """Measures the components and their change on normalised windows [n, n_frames, n_mels]."""
        frames = frames.astype(np.float64)
        flat = frames.reshape(-1, self.n_mels)
        centre = flat.mean(axis=0)
        variances, vectors = np.linalg.eigh(np.cov(flat - centre, rowvar=False))
        largest = np.argsort(variances)[::-1][: self.n_dims]
        variances, vectors = variances[largest], vectors[:, largest]
        # A component that never changes, as above a recording's bandwidth, stays at zero.
        alive = variances > _MIN_VARIANCE_SHARE * variances.max()
        deviations = np.where(alive, np.sqrt(np.where(alive, variances, 1)), 0)
        # The sign of an eigenvector is arbitrary: its largest entry is made positive.
        vectors *= np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(self.n_dims)])
        basis = np.where(alive, vectors / np.where(alive, deviations, 1), 0)
        z = (frames - centre) @ basis
        change_variance = np.diff(z, axis=1).var(axis=(0, 1))
        persistence = 1 - change_variance / (2 * np.where(alive, z.var(axis=(0, 1)), 1))
        scale = (z[:, 1:] - persistence * z[:, :-1]).std(axis=(0, 1))
        self.centre.assign(centre)
        self.basis.assign(basis)
        self.inverse.assign((vectors * deviations).T)
        self.persistence.assign(persistence)
        self.innovation_scale.assign(np.maximum(scale, _MIN_INNOVATION_SCALE))

    def call(self, frames: tf.Tensor) -> tf.Tensor:
        """Returns components [..., n_dims] of frames [..., n_mels]."""
        return tf.matmul(frames - self.centre, tf.convert_to_tensor(self.basis))

    def invert(self, components: tf.Tensor) -> tf.Tensor:
        """Returns frames [..., n_mels]; directions without a component stay at their mean."""
        return self.unwhiten_difference(components) + self.centre

    def unwhiten_difference(self, difference: tf.Tensor) -> tf.Tensor:
        """Returns the difference of frames [..., n_mels] for a difference of components."""
        return tf.matmul(difference, tf.convert_to_tensor(self.inverse))

"""Frames as whitened principal components, and how those walk from frame to frame."""

from __future__ import annotations

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

# A component with less than this share of the largest variance is rounding.
_DEAD = 1e-8


class PrincipalComponents(keras.layers.Layer):
    """z = (frame - centre) @ basis: components of unit variance, the largest first.

    Attributes:
      rho: 1 - var(dz) / (2 var z) of each component, [n_dims]: its correlation with the frame
        before. rho z is the best guess of a walk that reverts to the mean.
      scale: deviation of what that guess misses, [n_dims]: of the innovations.
    """

    def __init__(self, n_mels: int, n_dims: int, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.n_mels, self.n_dims = n_mels, min(n_dims, n_mels)
        shapes = {
            "centre": (self.n_mels,),
            "basis": (self.n_mels, self.n_dims),
            "inverse": (self.n_dims, self.n_mels),
            "persistence": (self.n_dims,),
            "innovation_scale": (self.n_dims,),
        }
        for name, shape in shapes.items():
            start = "ones" if name == "innovation_scale" else "zeros"
            weight = self.add_weight(shape=shape, initializer=start, trainable=False, name=name)
            setattr(self, name, weight)
        self.built = True

    def prepare(self, frames: npt.NDArray[np.floating]) -> None:
        """Measures components and their walk on normalised windows [n, n_frames, n_mels]."""
        frames = frames.astype(np.float64)
        flat = frames.reshape(-1, self.n_mels)
        centre = flat.mean(axis=0)
        variances, vectors = np.linalg.eigh(np.cov(flat - centre, rowvar=False))
        kept = np.argsort(variances)[::-1][: self.n_dims]
        # A component that never changes, as above a recording's bandwidth, stays at zero.
        alive = variances[kept] > _DEAD * variances.max()
        deviations = np.where(alive, np.sqrt(np.where(alive, variances[kept], 1)), 0)
        # An eigenvector's sign is arbitrary: the largest entry is made positive.
        vectors = vectors[:, kept]
        vectors *= np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(len(kept))])
        basis = np.where(alive, vectors / np.where(alive, deviations, 1), 0)
        z = (frames - centre) @ basis
        moved = np.diff(z, axis=1).var(axis=(0, 1))
        rho = 1 - moved / (2 * np.where(alive, z.var(axis=(0, 1)), 1))
        innovations = z[:, 1:] - rho * z[:, :-1]
        self.centre.assign(centre)
        self.basis.assign(basis)
        self.inverse.assign((vectors * deviations).T)
        self.persistence.assign(rho)
        self.innovation_scale.assign(np.maximum(innovations.std(axis=(0, 1)), 1e-3))

    def call(self, frames: tf.Tensor) -> tf.Tensor:
        """Returns components [..., n_dims] of frames [..., n_mels]."""
        return tf.matmul(frames - self.centre, tf.convert_to_tensor(self.basis))

    def invert(self, components: tf.Tensor) -> tf.Tensor:
        """Returns frames [..., n_mels]; what the components do not hold stays at the mean."""
        return self.unwhiten_difference(components) + self.centre

    def unwhiten_difference(self, change: tf.Tensor) -> tf.Tensor:
        """Returns the change of frames [..., n_mels] that a change of components makes."""
        return tf.matmul(change, tf.convert_to_tensor(self.inverse))

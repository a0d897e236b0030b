"""Conversion between log-mel and the normalised frames that a model works on."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from audio import contract
from storage import files
from trainer.tf_function import graph_function


@dataclasses.dataclass(frozen=True, kw_only=True)
class Normaliser:
    """Normalises each mel band: (max(log_mel, floor) - mean) / std.

    Attributes:
      mean: Mean of each band over the training split, nats, float32 [n_mels].
      std: Standard deviation of each band, nats, float32 [n_mels], above zero.
      highest: Maximum of each band over the training split, nats, float32 [n_mels].
      floor: Log-mel below this is raised to it, nats.
    """

    mean: tf.Tensor
    std: tf.Tensor
    highest: tf.Tensor
    floor: float

    @classmethod
    def from_layer(cls, layer: tf.Module, *, floor: float) -> Normaliser:
        """Reads the vectors of a Transform graph inside the current TensorFlow graph.

        They do not depend on the input, so one empty record is enough to evaluate them.
        """
        vectors = layer({contract.LOG_MEL: tf.constant([b""])})
        names = (contract.MEL_MEAN, contract.MEL_STD, contract.MEL_MAX)
        mean, std, highest = (vectors[name][0] for name in names)
        return cls(mean=mean, std=std, highest=highest, floor=floor)

    @classmethod
    def from_graph(cls, transform_graph: str, *, floor: float) -> Normaliser:
        """Returns the normaliser of a fitted Transform graph's folder, with constant vectors."""
        with files.plain_path(transform_graph) as folder:
            layer = tft.TFTransformOutput(folder).transform_features_layer()

        @graph_function
        def read_vectors() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            normaliser = cls.from_layer(layer, floor=floor)
            return normaliser.mean, normaliser.std, normaliser.highest

        mean, std, highest = (tf.constant(np.asarray(vector)) for vector in read_vectors())
        return cls(mean=mean, std=std, highest=highest, floor=floor)

    def apply(self, log_mel: tf.Tensor) -> tf.Tensor:
        """Returns normalised frames for log-mel [..., n_mels]."""
        return (tf.maximum(log_mel, self.floor) - self.mean) / self.std

    def invert(self, frames: tf.Tensor) -> tf.Tensor:
        """Returns log-mel for normalised frames [..., n_mels]."""
        return frames * self.std + self.mean

    def limit(self, frames: tf.Tensor) -> tf.Tensor:
        """Returns normalised frames clipped to the range of the training split in each band.

        A rollout is fed its own output: without a limit, a band that grows would grow for ever.
        """
        low, high = (self.floor - self.mean) / self.std, (self.highest - self.mean) / self.std
        return tf.minimum(tf.maximum(frames, low), high)

    def level(self, frames: tf.Tensor) -> tf.Tensor:
        """Returns the logarithm of the power summed over all bands, nats [..., 1]."""
        return tf.reduce_logsumexp(self.invert(frames), axis=-1, keepdims=True)

    def level_gradient(self, frames: tf.Tensor) -> tf.Tensor:
        """Returns the derivative of the level by each normalised band, nats [..., n_mels]."""
        return self.std * tf.nn.softmax(self.invert(frames), axis=-1)

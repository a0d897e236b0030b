"""Log-mel to what the model sees, and back."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from audio import contract
from trainer.tf_function import graph_function


@dataclasses.dataclass(frozen=True, kw_only=True)
class Normaliser:
    """(max(log_mel, floor) - mean) / std per mel band.

    Attributes:
      mean: float32 [n_mels].
      std: float32 [n_mels], above zero.
      highest: float32 [n_mels], the loudest that training heard in each band.
      floor: nats.
    """

    mean: tf.Tensor
    std: tf.Tensor
    highest: tf.Tensor
    floor: float

    def apply(self, log_mel: tf.Tensor) -> tf.Tensor:
        """Returns normalised frames for log-mel [..., n_mels]."""
        return (tf.maximum(log_mel, self.floor) - self.mean) / self.std

    def limit(self, frames: tf.Tensor) -> tf.Tensor:
        """Returns normalised frames held within what training heard.

        A rollout feeds on itself: without a limit a band that grows goes on growing.
        """
        low, high = (self.floor - self.mean) / self.std, (self.highest - self.mean) / self.std
        return tf.minimum(tf.maximum(frames, low), high)

    def invert(self, frames: tf.Tensor) -> tf.Tensor:
        """Returns log-mel for normalised frames [..., n_mels]."""
        return frames * self.std + self.mean

    def level(self, frames: tf.Tensor) -> tf.Tensor:
        """Returns the logarithm of the power of all bands of normalised frames, nats [..., 1]."""
        return tf.reduce_logsumexp(self.invert(frames), axis=-1, keepdims=True)

    def level_gradient(self, frames: tf.Tensor) -> tf.Tensor:
        """Returns the derivative of the level with respect to each band, nats [..., n_mels]."""
        return self.std * tf.nn.softmax(self.invert(frames), axis=-1)


def from_layer(layer: tf.Module, *, floor: float) -> Normaliser:
    """Reads a Transform graph's vectors inside the current graph.

    They are constants of the graph, so an empty record is enough to ask for them.
    """
    vectors = layer({contract.LOG_MEL: tf.constant([b""])})
    names = (contract.MEL_MEAN, contract.MEL_STD, contract.MEL_MAX)
    mean, std, highest = (vectors[name][0] for name in names)
    return Normaliser(mean=mean, std=std, highest=highest, floor=floor)


def from_graph(transform_graph: str, *, floor: float) -> Normaliser:
    """Returns the normaliser of a fitted Transform graph, as constants."""
    layer = tft.TFTransformOutput(transform_graph).transform_features_layer()

    @graph_function
    def read() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        normaliser = from_layer(layer, floor=floor)
        return normaliser.mean, normaliser.std, normaliser.highest

    mean, std, highest = (tf.constant(np.asarray(vector)) for vector in read())
    return Normaliser(mean=mean, std=std, highest=highest, floor=floor)

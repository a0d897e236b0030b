"""A head that says how the next frame is distributed: a mixture of Gaussians, and not one mean."""

from __future__ import annotations

import math
from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from trainer.heads import Head

# log sigma is squashed into (-3.8, 3.2): a component that narrows on one frame has no bottom.
_LOG_SIGMA_RANGE, _LOG_SIGMA_CENTRE = 3.5, -0.3


@keras.saving.register_keras_serializable(package="nocturne")
class MixtureHead(Head):
    """Diagonal Gaussians on whitened principal components, as steps that revert to the mean.

    With z the whitened components of a frame, the mixture is over
    (z[t + 1] - rho z[t]) / scale, rho = 1 - var(dz) / (2 var z) and scale its deviation, each per
    component: what is left when the mixture says nothing is a stationary walk around the training
    data, which neither freezes nor drifts away.

    Components, rho and scale are measured on the training split (`prepare`) and travel with the
    weights.

    References:
      Bishop, "Mixture density networks", 1994. Graves, "Generating sequences with recurrent neural
        networks", 2013.
    """

    natural_temperature = 1.0

    def __init__(
        self, n_mels: int, *, n_components: int = 8, n_dims: int = 64, **kwargs: object
    ) -> None:
        super().__init__(n_mels, **kwargs)
        self.n_components, self.n_dims = n_components, min(n_dims, n_mels)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the weights for hidden frames of input_shape[-1] features."""
        n_outputs = self.n_components * (1 + 2 * self.n_dims)
        self.linear = keras.layers.Dense(n_outputs, name="linear")
        self.linear.build((None, None, input_shape[-1]))
        shapes = {
            "centre": (self.n_mels,),
            "basis": (self.n_mels, self.n_dims),
            "inverse": (self.n_dims, self.n_mels),
            "rho": (self.n_dims,),
            "scale": (self.n_dims,),
        }
        for name, shape in shapes.items():
            start = "ones" if name == "scale" else "zeros"
            weight = self.add_weight(shape=shape, initializer=start, trainable=False, name=name)
            setattr(self, name, weight)
        self.built = True

    def prepare(self, windows: Iterable[np.ndarray]) -> None:
        """Measures principal components and the walk along them on normalised training windows."""
        frames = np.concatenate([np.asarray(batch) for batch in windows]).astype(np.float64)
        flat = frames.reshape(-1, self.n_mels)
        centre = flat.mean(axis=0)
        variances, vectors = np.linalg.eigh(np.cov(flat - centre, rowvar=False))
        kept = np.argsort(variances)[::-1][: self.n_dims]
        deviations = np.sqrt(np.maximum(variances[kept], 1e-6))
        # An eigenvector's sign is arbitrary: the largest entry is made positive.
        vectors = vectors[:, kept]
        vectors *= np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(len(kept))])
        z = (frames - centre) @ (vectors / deviations)
        rho = 1 - np.diff(z, axis=1).var(axis=(0, 1)) / (2 * z.var(axis=(0, 1)))
        innovations = z[:, 1:] - rho * z[:, :-1]
        self.centre.assign(centre)
        self.basis.assign(vectors / deviations)
        self.inverse.assign((vectors * deviations).T)
        self.rho.assign(rho)
        self.scale.assign(np.maximum(innovations.std(axis=(0, 1)), 1e-3))

    def call(self, hidden: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
        """Returns [..., n_components * (1 + 2 n_dims) + n_dims]: the mixture, and rho z."""
        return tf.concat([self.linear(hidden), self.rho * self._whiten(frames)], axis=-1)

    def _whiten(self, frames: tf.Tensor) -> tf.Tensor:
        return tf.matmul(frames - self.centre, tf.convert_to_tensor(self.basis))

    def _split(self, outputs: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Returns logits [..., k], means and log sigmas [..., k, n_dims], rho z [..., n_dims]."""
        k, n = self.n_components, self.n_dims
        logits, means, raw, start = tf.split(outputs, [k, k * n, k * n, n], axis=-1)
        shape = tf.concat([tf.shape(outputs)[:-1], [k, n]], axis=0)
        log_sigmas = _LOG_SIGMA_RANGE * tf.tanh(raw / _LOG_SIGMA_RANGE) + _LOG_SIGMA_CENTRE
        return logits, tf.reshape(means, shape), tf.reshape(log_sigmas, shape), start

    @property
    def n_noise(self) -> int:
        """One number for the choice of the component, one a dimension."""
        return 1 + self.n_dims

    def loss(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Returns the negative log-likelihood of the innovations, nats a dimension."""
        logits, means, log_sigmas, start = self._split(outputs)
        innovation = ((self._whiten(targets) - start) / self.scale)[..., None, :]
        distance = tf.square((innovation - means) * tf.exp(-log_sigmas))
        each = -0.5 * (distance + math.log(2 * math.pi)) - log_sigmas
        joint = tf.nn.log_softmax(logits) + tf.reduce_sum(each, axis=-1)
        return -tf.reduce_logsumexp(joint, axis=-1) / self.n_dims

    def mean(self, outputs: tf.Tensor) -> tf.Tensor:
        """Returns the mixture's mean as a frame [..., n_mels]."""
        logits, means, _, start = self._split(outputs)
        return self._frame(start, tf.reduce_sum(tf.nn.softmax(logits)[..., None] * means, axis=-2))

    def draw(self, outputs: tf.Tensor, noise: tf.Tensor, temperature: tf.Tensor) -> tf.Tensor:
        """Returns a frame of a component drawn at `temperature`, its spread scaled by the same."""
        logits, means, log_sigmas, start = self._split(outputs)
        # At temperature 0 the likeliest component; its logit is then far above the others.
        shares = tf.nn.softmax(logits / tf.maximum(temperature, 1e-4))
        uniform = 0.5 * tf.math.erfc(-noise[:, :1] / math.sqrt(2))
        below = tf.cumsum(shares, axis=-1)[:, :-1]
        chosen = tf.reduce_sum(tf.cast(uniform >= below, tf.int32), axis=-1)
        mean = tf.gather(means, chosen, axis=1, batch_dims=1)
        sigma = tf.exp(tf.gather(log_sigmas, chosen, axis=1, batch_dims=1))
        return self._frame(start, mean + temperature * sigma * noise[:, 1:])

    def _frame(self, start: tf.Tensor, innovation: tf.Tensor) -> tf.Tensor:
        components = start + self.scale * innovation
        return tf.matmul(components, tf.convert_to_tensor(self.inverse)) + self.centre

    def get_config(self) -> dict[str, object]:
        """Returns what the constructor wants."""
        own = {"n_components": self.n_components, "n_dims": self.n_dims}
        return {**super().get_config(), **own}

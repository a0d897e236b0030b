"""A head that says how the next frame is distributed: first how strong its onset is, then what."""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from trainer.model.head import Head, Sampling
from trainer.model.onsets import Onsets
from trainer.model.principal_components import PrincipalComponents
from trainer.style.control import Hold

# log sigma is squashed into (-3.8, 3.2): a component that narrows on one frame has no bottom.
_LOG_SIGMA_RANGE, _LOG_SIGMA_CENTRE = 3.5, -0.3
_CLASS_UNITS = 96
# Frames that are drawn for the onset that was drawn; the nearest is kept.
_CANDIDATES = 2
# Onsets that are drawn as they were learnt have less of a beat than real ones.
_CLASS_TEMPERATURE = 0.3
# The most that a class is away from the onset a beat ago, in squared deviations.
_FARTHEST = 4.0
# How firmly rollouts are held near a style; what was tried is in docs/lab/experiments.md.
_HOLD = Hold(mean=0.09, level=0.4, loudness=0.15, rise=1.5, spread=0.16, variety=1.1)


class MixtureHead(Head):
    """An onset class, then diagonal Gaussians on whitened components that revert to the mean.

    With z the whitened components of a frame, the mixture is over (z[t + 1] - rho z[t]) / scale
    (see PrincipalComponents): what is left when the mixture says nothing is a stationary walk
    around the training data, which neither freezes nor drifts away.

    The class of the next frame's onset strength is predicted, drawn, and told to the mixture: among
    the likelihoods of 64 components, when something happens would drown. A frame that is drawn is
    made to be of its class (Onsets.impose): the noise of 64 components would blur the beat. In a
    rollout the classes are weighted by how near they are to the onset one beat ago, as far as
    onsets have been regular: music that is new to a model has a beat that it does not yet trust.

    Args:
      whitening: prepared on the training split.
      onsets: prepared on the training split.
      n_components: Gaussians.
      onset_weight: of the classes' cross-entropy beside the likelihood.
      beat_weight: see TrainSettings.
      hold: see TrainSettings.

    References:
      Bishop, "Mixture density networks", 1994. Graves, "Generating sequences with recurrent neural
        networks", 2013.
    """

    natural_temperature = 1.0

    def __init__(
        self,
        whitening: PrincipalComponents,
        onsets: Onsets,
        *,
        n_components: int,
        onset_weight: float,
        beat_weight: float,
        hold: float,
        **kwargs: object,
    ) -> None:
        super().__init__(whitening.n_mels, **kwargs)
        self.whitening, self.onsets = whitening, onsets
        self.n_components, self.onset_weight = n_components, onset_weight
        self.beat_weight, self.hold = beat_weight, _HOLD.scaled(hold)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the weights for hidden frames of input_shape[-1] features."""
        self.units = int(input_shape[-1] or 0)
        n, k, n_classes = self.whitening.n_dims, self.n_components, self.onsets.n_classes
        self.classifier = keras.Sequential(
            [keras.layers.Dense(_CLASS_UNITS, activation="relu"), keras.layers.Dense(n_classes)],
            name="classifier",
        )
        self.classifier.build((None, self.units))
        self.linear = keras.layers.Dense(k * (1 + 2 * n), name="linear")
        self.linear.build((None, self.units + n_classes))
        self.built = True

    def call(
        self, hidden: tf.Tensor, frames: tf.Tensor, echo: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns [..., units + n_classes + 2 + n_mels].

        Those are hidden, class logits, the echo (Inputs.echo; no beat where there is none), and
        frames as heard.
        """
        flat = tf.reshape(hidden, [-1, self.units])
        logits = tf.reshape(
            self.classifier(flat),
            tf.concat([tf.shape(hidden)[:-1], [self.onsets.n_classes]], axis=0),
        )
        if echo is None:
            echo = tf.zeros_like(frames[..., :2])
        return tf.concat([hidden, logits, echo, frames], axis=-1)

    def _split(self, outputs: tf.Tensor) -> list[tf.Tensor]:
        """Returns hidden, class logits, echo and frames, as call joined them."""
        parts: list[tf.Tensor] = tf.split(
            outputs, [self.units, self.onsets.n_classes, 2, self.n_mels], axis=-1
        )
        return parts

    def mixture(self, hidden: tf.Tensor, shares: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Returns logits [..., k], means and log sigmas [..., k, n_dims] of innovations.

        Args:
          hidden: [..., units].
          shares: of the onset classes, [..., n_classes]; one of them is 1 where it is known.
        """
        k, n = self.n_components, self.whitening.n_dims
        outputs = self.linear(tf.concat([hidden, shares], axis=-1))
        logits, means, raw = tf.split(outputs, [k, k * n, k * n], axis=-1)
        shape = tf.concat([tf.shape(outputs)[:-1], [k, n]], axis=0)
        log_sigmas = _LOG_SIGMA_RANGE * tf.tanh(raw / _LOG_SIGMA_RANGE) + _LOG_SIGMA_CENTRE
        return logits, tf.reshape(means, shape), tf.reshape(log_sigmas, shape)

    @property
    def n_noise(self) -> int:
        """One number for the class; for each candidate one for its Gaussian, one a component."""
        return 1 + _CANDIDATES * (1 + self.whitening.n_dims)

    def loss(self, outputs: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
        """Returns the negative log-likelihood, nats a component, and the weighted cross-entropy."""
        missed, likelihood = self._scores(outputs, frames)
        return self.onset_weight * missed - likelihood / self.whitening.n_dims

    def surprise(self, outputs: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
        """Returns that of the onset class and of the innovations given it."""
        missed, likelihood = self._scores(outputs, frames)
        return missed - likelihood

    def _scores(self, outputs: tf.Tensor, frames: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns cross-entropy of the classes and log-likelihood, nats [batch, n_frames]."""
        hidden, class_logits, _, heard = self._split(outputs)
        classes = self.onsets.classes(self.onsets.strength(frames[:, :-1], frames[:, 1:]))
        known = tf.one_hot(classes, self.onsets.n_classes)
        missed = -tf.reduce_sum(known * tf.nn.log_softmax(class_logits), axis=-1)
        logits, means, log_sigmas = self.mixture(hidden, known)
        walk = self.whitening.persistence * self.whitening(heard)
        innovation = ((self.whitening(frames[:, 1:]) - walk) / self.whitening.innovation_scale)[
            ..., None, :
        ]
        distance = tf.square((innovation - means) * tf.exp(-log_sigmas))
        each = -0.5 * (distance + math.log(2 * math.pi)) - log_sigmas
        joint = tf.nn.log_softmax(logits) + tf.reduce_sum(each, axis=-1)
        return missed, tf.reduce_logsumexp(joint, axis=-1)

    def mean(self, outputs: tf.Tensor) -> tf.Tensor:
        """Returns the mixture's mean as a frame [..., n_mels], with the classes' own shares."""
        hidden, class_logits, _, heard = self._split(outputs)
        logits, means, _ = self.mixture(hidden, tf.nn.softmax(class_logits))
        return self._frame(heard, tf.reduce_sum(tf.nn.softmax(logits)[..., None] * means, axis=-2))

    def draw(
        self,
        outputs: tf.Tensor,
        noise: tf.Tensor,
        sampling: Sampling,
        *,
        change: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Returns a frame; the noise floor is in units of a component's innovations."""
        hidden, class_logits, echo, heard = self._split(outputs)
        likely = class_logits / _CLASS_TEMPERATURE + self._on_beat(echo)
        drawn = _choose(likely, noise[:, 0], sampling.temperature)
        known = tf.one_hot(drawn, self.onsets.n_classes)
        logits, means, log_sigmas = self.mixture(hidden, known)
        wanted = tf.gather(tf.convert_to_tensor(self.onsets.centres), drawn)
        frames, misses = [], []
        for each in tf.split(noise[:, 1:], _CANDIDATES, axis=1):
            chosen = _choose(logits, each[:, 0], sampling.temperature)
            mean = tf.gather(means, chosen, axis=1, batch_dims=1)
            sigma = tf.exp(tf.gather(log_sigmas, chosen, axis=1, batch_dims=1))
            sigma = tf.maximum(sampling.spread * sigma, sampling.noise_floor)
            frame = self._frame(heard, mean + sigma * each[:, 1:])
            frames.append(frame)
            misses.append(tf.abs(self.onsets.strength(heard, frame) - wanted))
        nearest = tf.argmin(tf.stack(misses, axis=1), axis=1)
        frame = tf.gather(tf.stack(frames, axis=1), nearest, axis=1, batch_dims=1)
        if change is not None:
            frame = heard + change * (frame - heard)
        return self.onsets.impose(heard, frame, drawn)

    def _on_beat(self, echo: tf.Tensor) -> tf.Tensor:
        """Returns what is added to the logits of classes, [batch, n_classes], for echoes."""
        sure, strength = tf.nn.relu(echo[:, :1]), echo[:, 1:]
        off = tf.square(tf.convert_to_tensor(self.onsets.centres) - strength)
        return -self.beat_weight * sure * tf.minimum(off, _FARTHEST)

    def _frame(self, heard: tf.Tensor, innovation: tf.Tensor) -> tf.Tensor:
        walk = self.whitening.persistence * self.whitening(heard)
        return self.whitening.invert(walk + self.whitening.innovation_scale * innovation)


def _choose(logits: tf.Tensor, noise: tf.Tensor, temperature: tf.Tensor) -> tf.Tensor:
    """Returns int32 [batch]: drawn from logits [batch, n] by a standard normal number each."""
    # At temperature 0 the likeliest; its logit is then far above the others.
    shares = tf.nn.softmax(logits / tf.maximum(temperature, 1e-4))
    uniform = 0.5 * tf.math.erfc(-noise[:, None] / math.sqrt(2))
    below = tf.cumsum(shares, axis=-1)[:, :-1]
    return tf.reduce_sum(tf.cast(uniform >= below, tf.int32), axis=-1)

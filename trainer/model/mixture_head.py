"""A head that predicts the distribution of the next frame: its onset class, then the frame."""

from __future__ import annotations

import math

import keras
import tensorflow as tf
from typing_extensions import override

from trainer.model.head import Head, Sampling
from trainer.model.onsets import Onsets
from trainer.model.principal_components import PrincipalComponents
from trainer.style.control import Hold

# log sigma is squashed into (-3.8, 3.2). Without a lower bound, a Gaussian could collapse onto one
# frame, and its likelihood would grow without limit.
_LOG_SIGMA_RANGE = 3.5
_LOG_SIGMA_CENTRE = -0.3
# Size of the hidden layer of the onset classifier.
_CLASS_UNITS = 96
# Frames drawn at each step, of which the one nearest to the drawn onset class is kept. Four were no
# better (docs/lab/experiments.md, 2026-11-24).
_CANDIDATES = 2
# Temperature of onset classes at sampling temperature 1. Drawn as they were learnt, onsets are less
# regular than real ones (docs/lab/experiments.md, 2026-11-24).
_CLASS_TEMPERATURE = 0.3
# Upper limit of the squared distance between a class and the onset one beat ago, in deviations of
# onset strength.
_MAX_BEAT_DISTANCE = 4.0
# How firmly rollouts are held near a style; the search is in docs/lab/experiments.md, 2026-11-26.
_HOLD = Hold(mean=0.09, level=0.4, loudness=0.15, rise=1.5, spread=0.16, variety=1.1)


class MixtureHead(Head):
    """An onset class, then a mixture of diagonal Gaussians over the innovations of components.

    With z the principal components of a frame, an innovation is
    u = (z[t+1] - persistence * z[t]) / innovation_scale (see PrincipalComponents). If the mixture
    knows nothing, u is standard normal and frames are a stationary walk around the training data,
    which neither freezes nor drifts away.

    The class of the next onset is predicted and drawn first and given to the mixture: in a single
    likelihood of 64 components, *when* something happens would drown in *what* happens. Noise in so
    many components would also blur the beat, so the frame is scaled to belong to the class that was
    drawn (Onsets.impose_class). In a rollout, classes near the onset one beat ago become likelier,
    the more so the more regular onsets have been: a model trusts the beat of unfamiliar music too
    little.

    Args:
      components: Adapted to the training split.
      onsets: Adapted to the training split.
      n_components: Number of Gaussians.
      onset_weight: Weight of the cross-entropy of onset classes in the loss.
      beat_weight: See BEAT_WEIGHT.
      hold: See TrainSettings.

    References:
      Bishop, "Mixture density networks", 1994.
      Graves, "Generating sequences with recurrent neural networks", 2013.
    """

    def __init__(
        self,
        components: PrincipalComponents,
        onsets: Onsets,
        *,
        n_components: int,
        onset_weight: float,
        beat_weight: float,
        hold: float,
        **kwargs: object,
    ) -> None:
        super().__init__(components.n_mels, **kwargs)
        self.components, self.onsets = components, onsets
        self.n_components, self.onset_weight = n_components, onset_weight
        self.beat_weight, self.hold = beat_weight, _HOLD.scaled(hold)

    @override
    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.units = int(input_shape[-1] or 0)
        n, k, n_classes = self.components.n_dims, self.n_components, self.onsets.n_classes
        self.classifier = keras.Sequential(
            [keras.layers.Dense(_CLASS_UNITS, activation="relu"), keras.layers.Dense(n_classes)],
            name="classifier",
        )
        self.classifier.build((None, self.units))
        self.linear = keras.layers.Dense(k * (1 + 2 * n), name="linear")
        self.linear.build((None, self.units + n_classes))
        self.built = True

    @override
    def call(
        self, hidden: tf.Tensor, frames: tf.Tensor, beat_cue: tf.Tensor | None = None
    ) -> tf.Tensor:
        flat = tf.reshape(hidden, [-1, self.units])
        logits = tf.reshape(
            self.classifier(flat),
            tf.concat([tf.shape(hidden)[:-1], [self.onsets.n_classes]], axis=0),
        )
        if beat_cue is None:
            beat_cue = tf.zeros_like(frames[..., :2])
        return tf.concat([hidden, logits, beat_cue, frames], axis=-1)

    def _split(self, outputs: tf.Tensor) -> list[tf.Tensor]:
        """Returns hidden states, class logits, beat cue and frames, as `call` joined them."""
        parts: list[tf.Tensor] = tf.split(
            outputs, [self.units, self.onsets.n_classes, 2, self.n_mels], axis=-1
        )
        return parts

    def mixture(self, hidden: tf.Tensor, shares: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Returns logits [..., k], means and log sigmas [..., k, n_dims] of the innovations.

        Args:
          hidden: [..., units].
          shares: Probabilities of the onset classes, [..., n_classes]; one-hot if it is known.
        """
        k, n = self.n_components, self.components.n_dims
        outputs = self.linear(tf.concat([hidden, shares], axis=-1))
        logits, means, raw = tf.split(outputs, [k, k * n, k * n], axis=-1)
        shape = tf.concat([tf.shape(outputs)[:-1], [k, n]], axis=0)
        log_sigmas = _LOG_SIGMA_RANGE * tf.tanh(raw / _LOG_SIGMA_RANGE) + _LOG_SIGMA_CENTRE
        return logits, tf.reshape(means, shape), tf.reshape(log_sigmas, shape)

    @property
    @override
    def n_noise(self) -> int:
        # One for the class; for each candidate one for its Gaussian and one for each component.
        return 1 + _CANDIDATES * (1 + self.components.n_dims)

    @override
    def loss(self, outputs: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
        cross_entropy, log_likelihood = self._scores(outputs, frames)
        return self.onset_weight * cross_entropy - log_likelihood / self.components.n_dims

    @override
    def negative_log_likelihood(self, outputs: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
        """Returns that of the onset class and of the innovations given the class."""
        cross_entropy, log_likelihood = self._scores(outputs, frames)
        return cross_entropy - log_likelihood

    def _scores(self, outputs: tf.Tensor, frames: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns cross-entropy of the classes and log-likelihood, nats [batch, n_frames]."""
        hidden, class_logits, _, seen = self._split(outputs)
        classes = self.onsets.classes(self.onsets.strength(frames[:, :-1], frames[:, 1:]))
        one_hot = tf.one_hot(classes, self.onsets.n_classes)
        cross_entropy = -tf.reduce_sum(one_hot * tf.nn.log_softmax(class_logits), axis=-1)
        logits, means, log_sigmas = self.mixture(hidden, one_hot)
        expected = self.components.persistence * self.components(seen)
        scale = self.components.innovation_scale
        innovation = ((self.components(frames[:, 1:]) - expected) / scale)[..., None, :]
        distance = tf.square((innovation - means) * tf.exp(-log_sigmas))
        by_dim = -0.5 * (distance + math.log(2 * math.pi)) - log_sigmas
        joint = tf.nn.log_softmax(logits) + tf.reduce_sum(by_dim, axis=-1)
        return cross_entropy, tf.reduce_logsumexp(joint, axis=-1)

    @override
    def mean(self, outputs: tf.Tensor) -> tf.Tensor:
        hidden, class_logits, _, seen = self._split(outputs)
        logits, means, _ = self.mixture(hidden, tf.nn.softmax(class_logits))
        innovation = tf.reduce_sum(tf.nn.softmax(logits)[..., None] * means, axis=-2)
        return self._apply_innovation(seen, innovation)

    @override
    def draw(
        self,
        outputs: tf.Tensor,
        noise: tf.Tensor,
        sampling: Sampling,
        change_scale: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Draws the next frame; the noise floor is in deviations of a component's innovations."""
        hidden, class_logits, beat_cue, seen = self._split(outputs)
        logits = class_logits / _CLASS_TEMPERATURE + self._beat_logits(beat_cue)
        classes = _draw_category(logits, noise[:, 0], sampling.temperature)
        mixture = self.mixture(hidden, tf.one_hot(classes, self.onsets.n_classes))
        target_strength = tf.gather(tf.convert_to_tensor(self.onsets.class_medians), classes)
        frames, distances = [], []
        for candidate_noise in tf.split(noise[:, 1:], _CANDIDATES, axis=1):
            innovation = _draw_innovation(mixture, candidate_noise, sampling)
            frame = self._apply_innovation(seen, innovation)
            frames.append(frame)
            distances.append(tf.abs(self.onsets.strength(seen, frame) - target_strength))
        nearest = tf.argmin(tf.stack(distances, axis=1), axis=1)
        frame = tf.gather(tf.stack(frames, axis=1), nearest, axis=1, batch_dims=1)
        if change_scale is not None:
            frame = seen + change_scale * (frame - seen)
        return self.onsets.impose_class(seen, frame, classes)

    def _beat_logits(self, beat_cue: tf.Tensor) -> tf.Tensor:
        """Returns what the beat adds to the logits of the onset classes, [batch, n_classes]."""
        regularity, strength = tf.nn.relu(beat_cue[:, :1]), beat_cue[:, 1:]
        distance = tf.square(tf.convert_to_tensor(self.onsets.class_medians) - strength)
        return -self.beat_weight * regularity * tf.minimum(distance, _MAX_BEAT_DISTANCE)

    def _apply_innovation(self, seen: tf.Tensor, innovation: tf.Tensor) -> tf.Tensor:
        """Returns the frame that follows `seen` with an innovation [..., n_dims]."""
        expected = self.components.persistence * self.components(seen)
        return self.components.invert(expected + self.components.innovation_scale * innovation)


def _draw_innovation(
    mixture: tuple[tf.Tensor, ...], noise: tf.Tensor, sampling: Sampling
) -> tf.Tensor:
    """Draws from logits, means and log sigmas with noise [batch, 1 + n_dims]: [batch, n_dims]."""
    logits, means, log_sigmas = mixture
    gaussian = _draw_category(logits, noise[:, 0], sampling.temperature)
    mean = tf.gather(means, gaussian, axis=1, batch_dims=1)
    sigma = tf.exp(tf.gather(log_sigmas, gaussian, axis=1, batch_dims=1))
    sigma = tf.maximum(sampling.spread * sigma, sampling.noise_floor)
    return mean + sigma * noise[:, 1:]


def _draw_category(logits: tf.Tensor, noise: tf.Tensor, temperature: tf.Tensor) -> tf.Tensor:
    """Draws from logits [batch, n] with one standard normal number each: int32 [batch].

    The normal distribution function makes the number uniform; the category is the one in whose
    interval of cumulative probability it falls.
    """
    # At temperature 0 the division makes the likeliest category as good as certain.
    shares = tf.nn.softmax(logits / tf.maximum(temperature, 1e-4))
    uniform = 0.5 * tf.math.erfc(-noise[:, None] / math.sqrt(2))
    cumulative = tf.cumsum(shares, axis=-1)[:, :-1]
    return tf.reduce_sum(tf.cast(uniform >= cumulative, tf.int32), axis=-1)

"""The head: predicts the next frame, scores the prediction, and draws a frame from it.

A head turns the hidden states of the LSTM (and the frames it saw) into outputs, outputs and the
real next frames into a loss, and outputs and noise into a frame. Model, training and export use a
head only through this interface.
"""

from __future__ import annotations

import abc
import math
from typing import NamedTuple

import keras
import tensorflow as tf
from typing_extensions import override

from trainer.style.control import Hold

# Lower limit of the deviation of a band, in normalised units. The likelihood of a band that never
# changed in training would grow without limit.
_MIN_DEVIATION = 1e-3


class Sampling(NamedTuple):
    """How frames are drawn; each field is a float32 [].

    Attributes:
      temperature: Temperature of choices, such as which Gaussian of a mixture; 0 takes the
        likeliest.
      spread: Scales the deviation of what was chosen; 0 takes its mean.
      noise_floor: Lower limit of that deviation, in the head's own units. It keeps a model moving
        that is too sure of itself.
    """

    temperature: tf.Tensor
    spread: tf.Tensor
    noise_floor: tf.Tensor

    @classmethod
    def at(cls, temperature: float, *, noise_floor: float = 0.0) -> Sampling:
        """Returns a sampling with one temperature for choices and spread."""
        fields = (temperature, temperature, noise_floor)
        return cls(*(tf.constant(field, tf.float32) for field in fields))


class Head(keras.layers.Layer, abc.ABC):
    """The last layer of a next-frame model.

    Attributes:
      natural_temperature: The temperature that sounds best.
      hold: How firmly a rollout is held near the style of its primer.
    """

    natural_temperature = 1.0
    hold = Hold()

    def __init__(self, n_mels: int, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.n_mels = n_mels

    @abc.abstractmethod
    def call(
        self, hidden: tf.Tensor, frames: tf.Tensor, beat_cue: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns the outputs [..., n_outputs] that the other methods take.

        Args:
          hidden: Hidden states of the LSTM, [..., units].
          frames: The frames it saw, with their noise, [..., n_mels].
          beat_cue: As Inputs.beat_cue returns it.
        """

    @property
    @abc.abstractmethod
    def n_noise(self) -> int:
        """Number of standard normal numbers that drawing one frame takes."""

    @abc.abstractmethod
    def loss(self, outputs: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
        """Returns the training loss of each prediction, [batch, n_frames].

        Args:
          outputs: [batch, n_frames, n_outputs].
          frames: [batch, n_frames + 1, n_mels]: the frames seen, and the one after the last.
        """

    @abc.abstractmethod
    def negative_log_likelihood(self, outputs: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
        """Returns the negative log-likelihood of each next frame, nats [batch, n_frames].

        Takes the arguments of `loss`. Each kind of head describes other quantities of a frame in
        other units, so compare only models with the same kind of head.
        """

    @abc.abstractmethod
    def mean(self, outputs: tf.Tensor) -> tf.Tensor:
        """Returns the expected next frame [..., n_mels]."""

    @abc.abstractmethod
    def draw(
        self,
        outputs: tf.Tensor,
        noise: tf.Tensor,
        sampling: Sampling,
        change_scale: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Draws the next frame, [batch, n_mels].

        Args:
          outputs: [batch, n_outputs].
          noise: Standard normal numbers, [batch, n_noise].
          sampling: How the frame is drawn.
          change_scale: Scales the change of each band from the frame before, [batch, n_mels]; a
            head whose hold has no `rise` ignores it.
        """

    def calibrate(self, mean_square: tf.Tensor) -> None:
        """Takes the mean squared error of each band [n_mels], measured after training."""


class MseHead(Head):
    """The original recipe: a linear output and the mean squared error.

    With `residual` the linear output is the change from the frame before and starts at zero.
    Training then begins with the strongest simple guess, repeating the last frame, instead of
    spending most of its time on finding it (docs/decisions/0004-residual-output.md).

    The squared error is the likelihood of a Gaussian with constant deviation. That deviation is
    measured after training; temperature scales it, and temperature 0 gives the mean itself.
    """

    natural_temperature = 0.3

    def __init__(self, n_mels: int, *, residual: bool = True, **kwargs: object) -> None:
        super().__init__(n_mels, **kwargs)
        self.residual = residual

    @override
    def build(self, input_shape: tuple[int | None, ...]) -> None:
        start = "zeros" if self.residual else "glorot_uniform"
        self.linear = keras.layers.Dense(self.n_mels, kernel_initializer=start, name="linear")
        self.linear.build((None, None, input_shape[-1]))
        self.deviation = self.add_weight(
            shape=(self.n_mels,), initializer="zeros", trainable=False, name="deviation"
        )
        self.built = True

    @override
    def call(
        self, hidden: tf.Tensor, frames: tf.Tensor, beat_cue: tf.Tensor | None = None
    ) -> tf.Tensor:
        linear = self.linear(hidden)
        return frames + linear if self.residual else linear

    @property
    @override
    def n_noise(self) -> int:
        return self.n_mels

    @override
    def loss(self, outputs: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.square(outputs - frames[:, 1:]), axis=-1)

    @override
    def negative_log_likelihood(self, outputs: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
        deviation = tf.maximum(tf.convert_to_tensor(self.deviation), _MIN_DEVIATION)
        distance = tf.square((outputs - frames[:, 1:]) / deviation)
        by_band = 0.5 * (distance + math.log(2 * math.pi)) + tf.math.log(deviation)
        return tf.reduce_sum(by_band, axis=-1)

    @override
    def mean(self, outputs: tf.Tensor) -> tf.Tensor:
        return outputs

    @override
    def draw(
        self,
        outputs: tf.Tensor,
        noise: tf.Tensor,
        sampling: Sampling,
        change_scale: tf.Tensor | None = None,
    ) -> tf.Tensor:
        deviation = sampling.spread * tf.convert_to_tensor(self.deviation)
        return outputs + tf.maximum(deviation, sampling.noise_floor) * noise

    @override
    def calibrate(self, mean_square: tf.Tensor) -> None:
        self.deviation.assign(tf.sqrt(mean_square))

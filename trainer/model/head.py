"""What is predicted of the next frame, how that is scored, and how it is drawn.

A head turns hidden frames (and the frames that the LSTM saw) into outputs, outputs and targets
into a loss, outputs and noise into a frame. The model, the loop, the export and the generator know
only this.
"""

from __future__ import annotations

import abc
import math
from typing import NamedTuple

import keras
import tensorflow as tf

from trainer.style.control import Hold

# A band that never changed while training has no spread; its likelihood would have no bottom.
_LEAST_SPREAD = 1e-3


class Sampling(NamedTuple):
    """How frames are drawn; each a float32 [].

    Attributes:
      temperature: of choices, such as which component of a mixture; 0 takes the likeliest.
      spread: scales the deviation of what was chosen; 0 takes its mean.
      noise_floor: the least deviation, in the units of the head's own: it keeps a model that is too
        sure of itself moving.
    """

    temperature: tf.Tensor
    spread: tf.Tensor
    noise_floor: tf.Tensor

    @classmethod
    def at(cls, temperature: float, *, noise_floor: float = 0.0) -> Sampling:
        """Returns one temperature for choices and spread."""
        return cls(
            *(tf.constant(each, tf.float32) for each in (temperature, temperature, noise_floor))
        )


class Head(keras.layers.Layer, abc.ABC):
    """The last layer of a next-frame model.

    Attributes:
      natural_temperature: what drawing sounds best at.
      hold: how firmly a rollout is held near the style of its primer.
    """

    natural_temperature = 1.0
    hold = Hold()

    def __init__(self, n_mels: int, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.n_mels = n_mels

    @property
    @abc.abstractmethod
    def n_noise(self) -> int:
        """Standard normal numbers that drawing one frame takes."""

    @abc.abstractmethod
    def loss(self, outputs: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each prediction [batch, n_frames]; lower is better.

        Args:
          outputs: [batch, n_frames, ...].
          frames: [batch, n_frames + 1, n_mels]: those before, and the last one's next.
        """

    @abc.abstractmethod
    def surprise(self, outputs: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
        """Returns the negative log-likelihood of each next frame, nats [batch, n_frames].

        Args are those of loss. It is of what the head describes of a frame, in its own units:
        compare models of one kind of head.
        """

    @abc.abstractmethod
    def mean(self, outputs: tf.Tensor) -> tf.Tensor:
        """Returns the expected frame [..., n_mels]."""

    @abc.abstractmethod
    def draw(
        self,
        outputs: tf.Tensor,
        noise: tf.Tensor,
        sampling: Sampling,
        *,
        change: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Returns a frame [batch, n_mels] drawn with noise [batch, n_noise].

        Args:
          outputs: [batch, ...].
          noise: standard normal, [batch, n_noise].
          sampling: how it is drawn.
          change: what each band's change from the frame before is scaled by, [batch, n_mels]; a
            head whose hold has no `rise` does not look at it.
        """

    def calibrate(self, mean_square: tf.Tensor) -> None:
        """Takes the mean squared error per band [n_mels] after training, where it is of use."""


class MseHead(Head):
    """The original recipe: a linear output and the mean squared error.

    With `residual` the linear output is the change from the last frame and starts at zero: training
    then begins at the strongest simple guess, repeating the last frame, instead of taking most of
    its time to find it (docs/decisions/0004-residual-output.md).

    The squared error is the likelihood of a Gaussian of constant spread. That spread, measured
    after training, is what temperature scales; at temperature 0 the mean itself is the frame.
    """

    natural_temperature = 0.3

    def __init__(self, n_mels: int, *, residual: bool = True, **kwargs: object) -> None:
        super().__init__(n_mels, **kwargs)
        self.residual = residual

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the weights for hidden frames of input_shape[-1] features."""
        start = "zeros" if self.residual else "glorot_uniform"
        self.linear = keras.layers.Dense(self.n_mels, kernel_initializer=start, name="linear")
        self.linear.build((None, None, input_shape[-1]))
        self.spread = self.add_weight(
            shape=(self.n_mels,), initializer="zeros", trainable=False, name="spread"
        )
        self.built = True

    def call(
        self,
        hidden: tf.Tensor,
        frames: tf.Tensor,
        echo: tf.Tensor | None = None,  # noqa: ARG002
    ) -> tf.Tensor:
        """Returns the next frames [..., n_mels] for hidden [..., units] and frames before them."""
        linear = self.linear(hidden)
        return frames + linear if self.residual else linear

    @property
    def n_noise(self) -> int:
        """One number a band."""
        return self.n_mels

    def loss(self, outputs: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
        """Returns the mean over bands of the squared error."""
        return tf.reduce_mean(tf.square(outputs - frames[:, 1:]), axis=-1)

    def surprise(self, outputs: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
        """Returns that of a Gaussian with the measured spread, over normalised frames."""
        spread = tf.maximum(tf.convert_to_tensor(self.spread), _LEAST_SPREAD)
        far = tf.square((outputs - frames[:, 1:]) / spread)
        each = 0.5 * (far + math.log(2 * math.pi)) + tf.math.log(spread)
        return tf.reduce_sum(each, axis=-1)

    def mean(self, outputs: tf.Tensor) -> tf.Tensor:
        """Returns the outputs: they are the mean."""
        return outputs

    def draw(
        self,
        outputs: tf.Tensor,
        noise: tf.Tensor,
        sampling: Sampling,
        *,
        change: tf.Tensor | None = None,  # noqa: ARG002
    ) -> tf.Tensor:
        """Returns the mean, and noise of the measured spread times the sampling's around it."""
        spread = sampling.spread * tf.convert_to_tensor(self.spread)
        return outputs + tf.maximum(spread, sampling.noise_floor) * noise

    def calibrate(self, mean_square: tf.Tensor) -> None:
        """Sets the spread to the root of the measured error."""
        self.spread.assign(tf.sqrt(mean_square))

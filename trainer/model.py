"""The next-frame model: normalised frames in, what the head says of the next frame out."""

from __future__ import annotations

import keras
import tensorflow as tf

from trainer.heads import Head, MseHead
from trainer.lstm import StackedLSTM, State
from trainer.mixture import MixtureHead
from trainer.settings import TrainSettings


class NextFrameModel(keras.Model):
    """Stacked LSTM and a head; a window call and a step with the same weights."""

    def __init__(self, *, n_mels: int, settings: TrainSettings) -> None:
        super().__init__(name="next_frame")
        self.n_mels = n_mels
        self.lstm = StackedLSTM(
            settings.units,
            settings.n_layers,
            dropout=settings.dropout,
            precision=settings.precision,
            name="stack",
        )
        self.head = make_head(settings, n_mels=n_mels)
        self.lstm.build((None, None, n_mels))
        self.head.build((None, None, settings.units))
        self.built = True

    def call(self, frames: tf.Tensor, dropout_seed: tf.Tensor | None = None) -> tf.Tensor:
        """Returns the head's outputs [batch, n_frames, ...] for frames [batch, n_frames, n_mels].

        Output t speaks of frame t + 1. For dropout_seed see StackedLSTM.unroll.
        """
        return self.head(self.lstm(frames, dropout_seed=dropout_seed), frames)

    def step(self, frame: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """Returns the outputs for one frame [batch, n_mels], and the state after it."""
        hidden, state = self.lstm.step(frame, state)
        return self.head(hidden, frame), state

    def warm_up(self, primer: tf.Tensor) -> tuple[tf.Tensor, State]:
        """Returns the outputs after a primer [batch, n_frames >= 1, n_mels], and the state."""
        hidden, state = self.lstm.unroll(primer)
        return self.head(hidden[:, -1], primer[:, -1]), state


def make_head(settings: TrainSettings, *, n_mels: int) -> Head:
    """Returns the head that settings name; trainer.settings.HEADS lists the names."""
    if settings.head == "mixture":
        return MixtureHead(
            n_mels,
            n_components=settings.mixture_components,
            n_dims=settings.mixture_dims,
            name="mixture_head",
        )
    return MseHead(n_mels, residual=settings.residual, name="mse_head")

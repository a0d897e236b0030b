"""The next-frame model: normalised frames in, what the head says of the next frame out."""

from __future__ import annotations

from collections.abc import Iterable

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.model.head import Head, MseHead
from trainer.model.inputs import AnchoredInputs, Inputs, Memory, PlainInputs
from trainer.model.lstm import StackedKernels, StackedLSTM
from trainer.model.lstm import State as LSTMState
from trainer.model.mixture_head import MixtureHead
from trainer.model.onsets import Onsets
from trainer.model.principal_components import PrincipalComponents
from trainer.settings import (
    MIXTURE_COMPONENTS,
    MIXTURE_DIMS,
    ONSET_CLASSES,
    ONSET_WEIGHT,
    TrainSettings,
)
from trainer.style.drift import StyleDrift

State = tuple[LSTMState, Memory]


class NextFrameModel(keras.Model):
    """Inputs, stacked LSTM and a head; a window call and a step with the same weights.

    Attributes:
      anchor_frames: how many frames in front of a window are its anchor: a stretch of the same
        music that shows its style, and is not continued. 0 where the inputs want none.
    """

    def __init__(
        self,
        *,
        n_mels: int,
        settings: TrainSettings,
        anchor_frames: int | None = None,
        onset_classes: int = ONSET_CLASSES,
        onset_weight: float = ONSET_WEIGHT,
        mixture_components: int = MIXTURE_COMPONENTS,
        mixture_dims: int = MIXTURE_DIMS,
    ) -> None:
        super().__init__(name="next_frame")
        self.n_mels = n_mels
        self.anchor_frames = settings.anchor if anchor_frames is None else anchor_frames
        self.lstm = StackedLSTM(
            settings.units,
            settings.n_layers,
            dropout=settings.dropout,
            precision=settings.precision,
            name="stack",
        )
        self.features: Inputs
        self.head: Head
        self.whitening: PrincipalComponents | None = None
        self.onsets: Onsets | None = None
        self.style_drift = StyleDrift(n_mels, name="style_drift")
        if settings.head == "mixture":
            self.whitening = PrincipalComponents(n_mels, mixture_dims, name="whitening")
            self.onsets = Onsets(onset_classes, name="onsets")
            self.features = AnchoredInputs(
                self.whitening, self.onsets, noise=settings.input_noise, name="inputs"
            )
            self.head = MixtureHead(
                self.whitening,
                self.onsets,
                n_components=mixture_components,
                onset_weight=onset_weight,
                beat_weight=settings.beat_weight,
                hold=settings.hold,
                name="mixture_head",
            )
        else:
            self.features = PlainInputs(n_mels, noise=settings.input_noise, name="inputs")
            self.head = MseHead(n_mels, residual=settings.residual, name="mse_head")
        self.lstm.build((None, None, self.features.n_features))
        self.head.build((None, None, settings.units))
        self.built = True

    def prepare(
        self,
        windows: Iterable[npt.NDArray[np.float32]],
        stretches: Iterable[npt.NDArray[np.float32]] = (),
    ) -> None:
        """Measures what must be known of the training split before training.

        Args:
          windows: normalised batches [batch, anchor_frames + n, n_mels].
          stretches: of music that goes on, normalised, [n_frames, n_mels] each.
        """
        if self.whitening is None or self.onsets is None:
            return
        frames = np.concatenate([np.asarray(batch)[:, self.anchor_frames :] for batch in windows])
        self.whitening.prepare(frames)
        self.onsets.prepare(frames)
        self.style_drift.prepare(stretches, anchor_frames=self.anchor_frames)

    def call(self, frames: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Listens to windows from their start.

        Args:
          frames: [batch, anchor_frames + n, n_mels].
          seed: int64 [2] of the noise and dropout of a training step; None for neither.

        Returns:
          The head's outputs [batch, n, ...]; output t speaks of frame t + 1 of the window.
        """
        anchor, window = frames[:, : self.anchor_frames], frames[:, self.anchor_frames :]
        features, heard, _ = self.features.window(window, anchor, seed)
        hidden = self.lstm(features, dropout_seed=seed)
        return self.head(hidden, heard, self.features.echo(features))

    def step(
        self, frame: tf.Tensor, state: State, joined: StackedKernels
    ) -> tuple[tf.Tensor, State]:
        """Returns the outputs for one frame [batch, n_mels], and the state after it.

        `joined` is lstm.stacked_kernels(), made once for all steps.
        """
        carried, memory = state
        features, memory = self.features.step(frame, memory)
        hidden, carried = self.lstm.step(features, carried, joined)
        return self.head(hidden, frame, self.features.echo(features)), (carried, memory)

    def warm_up(
        self, primer: tf.Tensor, anchor: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, State]:
        """Listens to a primer.

        Args:
          primer: [batch, n_frames >= 1, n_mels].
          anchor: shows the style; the primer itself unless given.

        Returns:
          The outputs after its last frame, and the state.
        """
        anchor = primer if anchor is None else anchor
        features, heard, memory = self.features.window(primer, anchor, None)
        hidden, carried = self.lstm.unroll(features)
        echo = self.features.echo(features[:, -1])
        return self.head(hidden[:, -1], heard[:, -1], echo), (carried, memory)

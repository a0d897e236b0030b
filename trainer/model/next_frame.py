"""The next-frame model: normalised frames in, a head's prediction of the next frame out."""

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
    BEAT_WEIGHT,
    MIXTURE_COMPONENTS,
    MIXTURE_DIMS,
    ONSET_CLASSES,
    ONSET_WEIGHT,
    TrainSettings,
)
from trainer.style.drift import StyleDrift

State = tuple[LSTMState, Memory]


class NextFrameModel(keras.Model):
    """Input features, a stacked LSTM and a head, for a whole window or one frame at a time.

    Args:
      n_mels: Number of mel bands.
      settings: Settings of the training run.
      anchor_frames: Frames of the anchor in front of each window, which shows the style of the
        music and is not continued; by default what the head of the settings needs, 0 for none.
      onset_classes: Number of onset classes of the mixture head.
      onset_weight: Weight of their cross-entropy in its loss.
      beat_weight: How strongly its rollouts prefer the onset strength of one beat ago.
      mixture_components: Number of Gaussians.
      mixture_dims: Number of principal components.
    """

    def __init__(
        self,
        *,
        n_mels: int,
        settings: TrainSettings,
        anchor_frames: int | None = None,
        onset_classes: int = ONSET_CLASSES,
        onset_weight: float = ONSET_WEIGHT,
        beat_weight: float = BEAT_WEIGHT,
        mixture_components: int = MIXTURE_COMPONENTS,
        mixture_dims: int = MIXTURE_DIMS,
    ) -> None:
        super().__init__(name="next_frame")
        self.n_mels = n_mels
        self.anchor_frames = settings.anchor if anchor_frames is None else anchor_frames
        # Weights are saved by position: layers must always be created in the same order.
        self.lstm = StackedLSTM(
            settings.units,
            settings.n_layers,
            dropout=settings.dropout,
            precision=settings.precision,
            name="stack",
        )
        self.features: Inputs
        self.head: Head
        self.components: PrincipalComponents | None = None
        self.onsets: Onsets | None = None
        self.style_drift = StyleDrift(n_mels, name="style_drift")
        if settings.head == "mixture":
            self.components = PrincipalComponents(n_mels, mixture_dims, name="components")
            self.onsets = Onsets(onset_classes, name="onsets")
            self.features = AnchoredInputs(
                self.components, self.onsets, noise=settings.input_noise, name="inputs"
            )
            self.head = MixtureHead(
                self.components,
                self.onsets,
                n_components=mixture_components,
                onset_weight=onset_weight,
                beat_weight=beat_weight,
                hold=settings.hold,
                name="mixture_head",
            )
        else:
            self.features = PlainInputs(n_mels, noise=settings.input_noise, name="inputs")
            self.head = MseHead(n_mels, residual=settings.residual, name="mse_head")
        self.lstm.build((None, None, self.features.n_features))
        self.head.build((None, None, settings.units))
        self.built = True

    def adapt(
        self,
        windows: Iterable[npt.NDArray[np.float32]],
        chunks: Iterable[npt.NDArray[np.float32]] = (),
    ) -> None:
        """Measures statistics of the training split that the layers need before training.

        Args:
          windows: Normalised batches, [batch, anchor_frames + n, n_mels].
          chunks: Normalised chunks of recordings, [n_frames, n_mels] each.
        """
        if self.components is None or self.onsets is None:
            return
        frames = np.concatenate([np.asarray(batch)[:, self.anchor_frames :] for batch in windows])
        self.components.adapt(frames)
        self.onsets.adapt(frames)
        self.style_drift.adapt(chunks, anchor_frames=self.anchor_frames)

    def call(self, frames: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Predicts every next frame of windows.

        Args:
          frames: Anchors and windows, [batch, anchor_frames + n, n_mels].
          seed: Seed of a training step's noise and dropout, int64 [2]; None for neither.

        Returns:
          The head's outputs [batch, n, n_outputs]; output t is the prediction of frame t + 1.
        """
        anchor, window = frames[:, : self.anchor_frames], frames[:, self.anchor_frames :]
        features, noisy, _ = self.features.window_features(window, anchor, seed)
        hidden = self.lstm(features, dropout_seed=seed)
        return self.head(hidden, noisy, self.features.beat_cue(features))

    def step(
        self, frame: tf.Tensor, state: State, kernels: StackedKernels
    ) -> tuple[tf.Tensor, State]:
        """Returns the outputs for one frame [batch, n_mels], and the state after it.

        A loop over steps makes `kernels` once, with lstm.stacked_kernels().
        """
        lstm_state, memory = state
        features, memory = self.features.step_features(frame, memory)
        hidden, lstm_state = self.lstm.step(features, lstm_state, kernels)
        outputs = self.head(hidden, frame, self.features.beat_cue(features))
        return outputs, (lstm_state, memory)

    def warm_up(
        self, primer: tf.Tensor, anchor: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, State]:
        """Runs the model over a primer.

        Args:
          primer: [batch, n_frames >= 1, n_mels].
          anchor: Frames that show the style; by default the primer.

        Returns:
          The outputs after the last frame, and the state.
        """
        anchor = primer if anchor is None else anchor
        features, noisy, memory = self.features.window_features(primer, anchor, None)
        hidden, lstm_state = self.lstm.unroll(features)
        beat_cue = self.features.beat_cue(features[:, -1])
        return self.head(hidden[:, -1], noisy[:, -1], beat_cue), (lstm_state, memory)

"""What the LSTM is given to hear of the frames so far."""

from __future__ import annotations

import abc
from typing import Any

import keras
import tensorflow as tf

from trainer.model.beat import (
    LONGEST_LAG,
    N_LAGS,
    SHORTEST_LAG,
    RunningAutocorrelation,
    beat,
    correlation,
)
from trainer.model.onsets import Onsets
from trainer.model.principal_components import PrincipalComponents

# What a step needs of the frames before it; a nest of tensors [batch, ...].
Memory = Any

# Leading components whose spread, movement and past are told one by one.
_LEADING = 16
# The longest look back, four beats, and the onsets that are told frame by frame.
_HISTORY, _RECENT = 4 * LONGEST_LAG, 24
_BEATS = (1.0, 2.0, 4.0, 0.5)
# Beats ago whose leading components are told.
_BARS = (1, 2, 4)
_SMALLEST_MOVE = 1e-3
# Of the most noise, what the LSTM is told where none was added.
_TOLD = 0.3


class Inputs(keras.layers.Layer, abc.ABC):
    """Features of frames; those of a window and of a step are the same.

    Args:
      noise: the most of it that a window gets while training. A rollout feeds on its own errors;
        noise teaches the way back.
    """

    def __init__(self, *, noise: float, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.noise = noise

    @property
    @abc.abstractmethod
    def n_features(self) -> int:
        """Features of a frame."""

    @abc.abstractmethod
    def window(
        self, frames: tf.Tensor, anchor: tf.Tensor, seed: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor, Memory]:
        """Listens to a window from its start.

        Args:
          frames: normalised, [batch, n_frames, n_mels].
          anchor: a stretch of the same music, which says what its style is: [batch, n, n_mels].
          seed: int64 [2] that the noise is drawn from; None for no noise.

        Returns:
          Features [batch, n_frames, n_features]; the frames as they were heard, with the noise; and
          the memory that the next step needs.
        """

    @abc.abstractmethod
    def step(self, frame: tf.Tensor, memory: Memory) -> tuple[tf.Tensor, Memory]:
        """Returns the features [batch, n_features] of the next frame, and the memory after it."""

    def echo(self, features: tf.Tensor) -> tf.Tensor | None:  # noqa: ARG002
        """Returns what features [..., n_features] say of the next onset by the beat alone.

        It is [..., 2]: how regular onsets are at the beat's lag, -1 to 1, and the strength of the
        onset one beat before the next frame. None where the beat is not followed.
        """
        return None


class PlainInputs(Inputs):
    """The frames themselves: the original recipe. The noise is the same for all bands."""

    def __init__(self, n_mels: int, *, noise: float, **kwargs: object) -> None:
        super().__init__(noise=noise, **kwargs)
        self.n_mels = n_mels
        self.built = True

    @property
    def n_features(self) -> int:
        """The bands."""
        return self.n_mels

    def window(
        self,
        frames: tf.Tensor,
        anchor: tf.Tensor,  # noqa: ARG002
        seed: tf.Tensor | None,
    ) -> tuple[tf.Tensor, tf.Tensor, Memory]:
        """Returns the frames, with noise where there is a seed."""
        if seed is not None and self.noise:
            frames += self.noise * tf.random.stateless_normal(tf.shape(frames), seed=seed)
        return frames, frames, ()

    def step(self, frame: tf.Tensor, memory: Memory) -> tuple[tf.Tensor, Memory]:
        """Returns the frame."""
        return frame, memory


class AnchoredInputs(Inputs):
    """Whitened components, the style of an anchor, and what happened a beat ago.

    Noise is in units of the components' innovations, at a level that is drawn for each window and
    told to the LSTM. Where there is none, in a rollout too, it is told that there is a little: what
    the model itself said is not to be believed entirely (docs/lab/experiments.md).

    References:
      Valevski et al., "Diffusion models are real-time game engines", 2024: noise of a known level.
      Waite, "Generating long-term structure in songs and stories", 2016: looking back by a bar.
    """

    def __init__(
        self, whitening: PrincipalComponents, onsets: Onsets, *, noise: float, **kwargs: object
    ) -> None:
        super().__init__(noise=noise, **kwargs)
        self.whitening, self.onsets = whitening, onsets
        self.n_leading = min(_LEADING, whitening.n_dims)
        self.built = True

    @property
    def n_features(self) -> int:
        """Components, noise level, style, lag and its certainty, onsets, and a beat ago."""
        tempo = 1 + N_LAGS
        onsets = len(_BEATS) + _RECENT
        back = (len(_BARS) + 1) * self.n_leading
        return self._before_tempo + tempo + onsets + back

    @property
    def _before_tempo(self) -> int:
        """Components, noise level and style."""
        return self.whitening.n_dims + 1 + self.whitening.n_dims + 2 * self.n_leading

    def window(
        self, frames: tf.Tensor, anchor: tf.Tensor, seed: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor, Memory]:
        """Returns features, frames and memory as Inputs.window says."""
        batch, n_frames = tf.shape(frames)[0], tf.shape(frames)[1]
        heard, level = self._with_noise(frames, seed)
        components = self.whitening(heard)
        strengths = self.onsets.strengths(frames)
        now = tf.concat([strengths[..., None], components[..., : self.n_leading]], axis=-1)
        history = tf.concat([tf.zeros([batch, _HISTORY, 1 + self.n_leading]), now], axis=1)
        style, tempo = self._style(anchor)
        means, tempo = tempo.over(strengths)
        # Row t of the history is _HISTORY frames before frame t, so this is frame t itself.
        at = tf.range(n_frames) + _HISTORY
        features = tf.concat(
            [
                components,
                tf.broadcast_to(level[:, None, None], [batch, n_frames, 1]),
                tf.repeat(style[:, None], n_frames, axis=1),
                self._look_back(history, at, means),
            ],
            axis=-1,
        )
        memory = (style, tempo, history[:, -_HISTORY:], frames[:, -1])
        return features, heard, memory

    def step(self, frame: tf.Tensor, memory: Memory) -> tuple[tf.Tensor, Memory]:
        """Returns features and memory as Inputs.step says."""
        style, tempo, history, before = memory
        components = self.whitening(frame)
        strength = self.onsets.strength(before, frame)
        tempo = tempo.after(strength, history[..., 0])
        now = tf.concat([strength[:, None], components[:, : self.n_leading]], axis=-1)
        history = tf.concat([history, now[:, None]], axis=1)
        back = self._look_back(history, tf.constant([_HISTORY]), tempo.means[:, None])[:, 0]
        told = tf.fill([tf.shape(frame)[0], 1], _TOLD * self.noise)
        features = tf.concat([components, told, style, back], axis=-1)
        return features, (style, tempo, history[:, 1:], frame)

    def echo(self, features: tf.Tensor) -> tf.Tensor:
        """Returns regularity and strength as Inputs.echo says."""
        # As _look_back has them: the lag, all correlations, and the strength one beat before.
        first = self._before_tempo + 1
        regular = features[..., first : first + N_LAGS]
        at = beat(regular) - SHORTEST_LAG
        sure = tf.reduce_sum(regular * tf.one_hot(at, N_LAGS), axis=-1)
        return tf.stack([sure, features[..., first + N_LAGS]], axis=-1)

    def _with_noise(self, frames: tf.Tensor, seed: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns frames with noise, and its level [batch]."""
        batch, n_frames = tf.shape(frames)[0], tf.shape(frames)[1]
        if seed is None or not self.noise:
            return frames, tf.fill([batch], _TOLD * self.noise)
        level = self.noise * tf.random.stateless_uniform([batch], seed=seed + 1)
        shape = [batch, n_frames, self.whitening.n_dims]
        noise = self.whitening.innovation_scale * tf.random.stateless_normal(shape, seed=seed)
        return frames + self.whitening.unwhiten_difference(level[:, None, None] * noise), level

    def _style(self, anchor: tf.Tensor) -> tuple[tf.Tensor, RunningAutocorrelation]:
        """Returns the style of stretches [batch, n, n_mels], and their tempo."""
        components = self.whitening(anchor)
        leading = components[..., : self.n_leading]
        moves = tf.reduce_mean(tf.abs(leading[:, 1:] - leading[:, :-1]), axis=1)
        parts = [
            tf.reduce_mean(components, axis=1),
            tf.math.reduce_std(leading, axis=1),
            tf.math.log(moves + _SMALLEST_MOVE),
        ]
        return tf.concat(parts, axis=-1), RunningAutocorrelation.of(self.onsets.strengths(anchor))

    def _look_back(self, history: tf.Tensor, at: tf.Tensor, means: tf.Tensor) -> tf.Tensor:
        """Returns what happened before.

        Args:
          history: onset strength and leading components, [batch, n, 1 + n_leading].
          at: rows of it that are now, [n_frames].
          means: RunningAutocorrelation's, [batch, n_frames, N_LAGS + 2].

        Returns:
          [batch, n_frames, ...]: the lag of the beat and the autocorrelation of onsets; the
          strength at the next frame less 1, 2, 4 and half a beat; the latest strengths; components
          at the next frame less 1, 2 and 4 beats, and how they moved to where they were a beat ago.
        """
        strengths, n_frames = history[..., 0], tf.shape(at)[0]
        regular = correlation(means)
        lag = beat(regular)
        beats = tf.cast(tf.cast(lag, tf.float32)[..., None] * tf.constant(_BEATS), tf.int32)
        on_beat = tf.gather(strengths, at[None, :, None] + 1 - beats, axis=1, batch_dims=1)
        latest = tf.gather(strengths, at[:, None] - tf.range(_RECENT)[None, :], axis=1)
        bars = at[None, :, None] + 1 - lag[..., None] * tf.constant(_BARS)
        then = tf.gather(history[..., 1:], bars, axis=1, batch_dims=1)
        earlier = tf.gather(history[..., 1:], bars[..., 0] - 1, axis=1, batch_dims=1)
        parts = [
            tf.cast(lag, tf.float32)[..., None] / LONGEST_LAG,
            regular,
            on_beat,
            latest,
            tf.reshape(then, [-1, n_frames, len(_BARS) * self.n_leading]),
            then[:, :, 0] - earlier,
        ]
        return tf.concat([tf.reshape(p, [-1, n_frames, p.shape[-1]]) for p in parts], axis=-1)

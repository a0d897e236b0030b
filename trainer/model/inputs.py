"""Input features of the LSTM, for a whole window of frames and for one more frame."""

from __future__ import annotations

import abc
from typing import Any

import keras
import tensorflow as tf
from typing_extensions import override

from trainer.model.beat import (
    LONGEST_LAG,
    N_LAGS,
    SHORTEST_LAG,
    RunningAutocorrelation,
    autocorrelation,
    beat_lag,
)
from trainer.model.onsets import Onsets
from trainer.model.principal_components import PrincipalComponents

# What a step needs to know of the frames before it: a nest of tensors [batch, ...].
Memory = Any

# Leading components whose spread, movement and past are features; the others only as they are now.
_N_LEADING = 16
# Beats from the next frame back to the onsets that are features.
_ONSET_BEATS = (1.0, 2.0, 4.0, 0.5)
# Beats from the next frame back to the leading components that are features.
_COMPONENT_BEATS = (1, 2, 4)
# Frames of history that are kept: the longest look back, four beats of the longest lag.
_HISTORY_FRAMES = 4 * LONGEST_LAG
# Latest onsets that are features one by one, frames; 96 were no better (docs/lab/experiments.md).
_LATEST_ONSETS = 24
# Added to a mean movement before its logarithm is taken, in deviations of a component.
_MOVEMENT_OFFSET = 1e-3
# Noise level that the LSTM is told where none was added, as a share of the highest. It is above 0
# so that a rollout does not trust its own frames entirely (docs/lab/experiments.md, 2026-11-22).
_TOLD_NOISE = 0.3


class Inputs(keras.layers.Layer, abc.ABC):
    """Features of frames. A window has the same features as its frames step by step.

    Args:
      noise: Highest noise level that a window gets while training. A rollout is fed its own errors;
        noise in training teaches the model to recover from them.
    """

    def __init__(self, *, noise: float, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.noise = noise

    @property
    @abc.abstractmethod
    def n_features(self) -> int:
        """Number of features of a frame."""

    @abc.abstractmethod
    def window_features(
        self, frames: tf.Tensor, anchor: tf.Tensor, seed: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor, Memory]:
        """Computes the features of a window.

        Args:
          frames: Normalised frames, [batch, n_frames, n_mels].
          anchor: Frames of the same music, which show its style, [batch, n, n_mels].
          seed: Seed of the noise, int64 [2]; None for no noise.

        Returns:
          The features [batch, n_frames, n_features], the frames with their noise, and the memory
          that the next step needs.
        """

    @abc.abstractmethod
    def step_features(self, frame: tf.Tensor, memory: Memory) -> tuple[tf.Tensor, Memory]:
        """Returns the features [batch, n_features] of one more frame, and the memory after it."""

    @abc.abstractmethod
    def beat_cue(self, features: tf.Tensor) -> tf.Tensor | None:
        """Returns what the beat alone says of the next onset, [..., 2].

        The first number is the autocorrelation of onsets at the beat's lag, -1 to 1; the second is
        the onset strength one beat before the next frame. None if the beat is no feature.
        """


class PlainInputs(Inputs):
    """The normalised frames themselves, as in the original recipe; noise is equal in all bands."""

    def __init__(self, n_mels: int, *, noise: float, **kwargs: object) -> None:
        super().__init__(noise=noise, **kwargs)
        self.n_mels = n_mels
        self.built = True

    @property
    @override
    def n_features(self) -> int:
        return self.n_mels

    @override
    def window_features(
        self, frames: tf.Tensor, anchor: tf.Tensor, seed: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor, Memory]:
        if seed is not None and self.noise:
            frames += self.noise * tf.random.stateless_normal(tf.shape(frames), seed=seed)
        return frames, frames, ()

    @override
    def step_features(self, frame: tf.Tensor, memory: Memory) -> tuple[tf.Tensor, Memory]:
        return frame, memory

    @override
    def beat_cue(self, features: tf.Tensor) -> tf.Tensor | None:
        return None


class AnchoredInputs(Inputs):
    """Principal components, the style of an anchor, and what happened on earlier beats.

    The features of a frame, in this order:

      components         n_dims             principal components of the frame, with noise
      noise level        1
      style              n_dims + 2 * 16    mean of components; spread and movement of the leading
      lag of the beat    1                  as a share of LONGEST_LAG
      autocorrelation    N_LAGS             of onset strengths
      onsets on beats    4                  1, 2, 4 and 1/2 beats before the next frame
      latest onsets      24                 of this frame and those before it
      leading on beats   3 * 16             1, 2 and 4 beats before the next frame
      their change       16                 from one frame earlier to one beat before the next frame

    Noise is in units of the components' innovations. Its level is drawn for each window and is a
    feature (_TOLD_NOISE where there is none).

    References:
      Valevski et al., "Diffusion models are real-time game engines", 2024: noise of a known level.
      Waite, "Generating long-term structure in songs and stories", 2016: looking back by a bar.
    """

    def __init__(
        self, components: PrincipalComponents, onsets: Onsets, *, noise: float, **kwargs: object
    ) -> None:
        super().__init__(noise=noise, **kwargs)
        self.components, self.onsets = components, onsets
        self.n_leading = min(_N_LEADING, components.n_dims)
        # The index of the first feature that _look_back computes, the lag of the beat.
        self._lag_index = 2 * components.n_dims + 1 + 2 * self.n_leading
        self.built = True

    @property
    @override
    def n_features(self) -> int:
        n_beat_features = 1 + N_LAGS + len(_ONSET_BEATS) + _LATEST_ONSETS
        return self._lag_index + n_beat_features + (len(_COMPONENT_BEATS) + 1) * self.n_leading

    @override
    def window_features(
        self, frames: tf.Tensor, anchor: tf.Tensor, seed: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor, Memory]:
        batch, n_frames = tf.shape(frames)[0], tf.shape(frames)[1]
        noisy, level = self._add_noise(frames, seed)
        components = self.components(noisy)
        strengths = self.onsets.strengths(frames)
        now = tf.concat([strengths[..., None], components[..., : self.n_leading]], axis=-1)
        history = tf.concat([tf.zeros([batch, _HISTORY_FRAMES, 1 + self.n_leading]), now], axis=1)
        style, beat_state = self._measure_anchor(anchor)
        means, beat_state = beat_state.extend(strengths, history[:, :_HISTORY_FRAMES, 0])
        # Frame t of the window is row _HISTORY_FRAMES + t of the history.
        rows = tf.range(n_frames) + _HISTORY_FRAMES
        features = tf.concat(
            [
                components,
                tf.broadcast_to(level[:, None, None], [batch, n_frames, 1]),
                tf.repeat(style[:, None], n_frames, axis=1),
                self._look_back(history, rows, means),
            ],
            axis=-1,
        )
        memory = (style, beat_state, history[:, -_HISTORY_FRAMES:], frames[:, -1])
        return features, noisy, memory

    @override
    def step_features(self, frame: tf.Tensor, memory: Memory) -> tuple[tf.Tensor, Memory]:
        style, beat_state, history, previous = memory
        components = self.components(frame)
        strength = self.onsets.strength(previous, frame)
        means, beat_state = beat_state.extend(strength[:, None], history[..., 0])
        now = tf.concat([strength[:, None], components[:, : self.n_leading]], axis=-1)
        history = tf.concat([history, now[:, None]], axis=1)
        past = self._look_back(history, tf.constant([_HISTORY_FRAMES]), means)[:, 0]
        level = tf.fill([tf.shape(frame)[0], 1], _TOLD_NOISE * self.noise)
        features = tf.concat([components, level, style, past], axis=-1)
        return features, (style, beat_state, history[:, 1:], frame)

    @override
    def beat_cue(self, features: tf.Tensor) -> tf.Tensor:
        first = self._lag_index + 1
        correlations = features[..., first : first + N_LAGS]
        index = beat_lag(correlations) - SHORTEST_LAG
        at_beat = tf.reduce_sum(correlations * tf.one_hot(index, N_LAGS), axis=-1)
        return tf.stack([at_beat, features[..., first + N_LAGS]], axis=-1)

    def _add_noise(self, frames: tf.Tensor, seed: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns frames with noise, and the noise level of each window, [batch]."""
        batch, n_frames = tf.shape(frames)[0], tf.shape(frames)[1]
        if seed is None or not self.noise:
            return frames, tf.fill([batch], _TOLD_NOISE * self.noise)
        level = self.noise * tf.random.stateless_uniform([batch], seed=seed + 1)
        shape = [batch, n_frames, self.components.n_dims]
        noise = self.components.innovation_scale * tf.random.stateless_normal(shape, seed=seed)
        return frames + self.components.unwhiten_difference(level[:, None, None] * noise), level

    def _measure_anchor(self, anchor: tf.Tensor) -> tuple[tf.Tensor, RunningAutocorrelation]:
        """Returns the style features of anchors [batch, n, n_mels], and their autocorrelation."""
        components = self.components(anchor)
        leading = components[..., : self.n_leading]
        movement = tf.reduce_mean(tf.abs(leading[:, 1:] - leading[:, :-1]), axis=1)
        style = [
            tf.reduce_mean(components, axis=1),
            tf.math.reduce_std(leading, axis=1),
            tf.math.log(movement + _MOVEMENT_OFFSET),
        ]
        strengths = self.onsets.strengths(anchor)
        return tf.concat(style, axis=-1), RunningAutocorrelation.measure(strengths)

    def _look_back(self, history: tf.Tensor, rows: tf.Tensor, means: tf.Tensor) -> tf.Tensor:
        """Returns the features from the lag of the beat on, [batch, n_frames, ...].

        With L the lag of the beat, the rows that are read for the frame in row `now`; beats are
        counted back from the frame after it, which is to be predicted:

          now+1-4L ... now+1-2L ... now-L  now+1-L .. now+1-L/2 ... now-23 .. now | now+1 (unknown)
          o            o                   o          o             o o o o o o o |  onsets
          z            z            z      z                                      |  components

        Args:
          history: Onset strength and leading components, [batch, n, 1 + n_leading].
          rows: The rows of the history that are `now`, [n_frames].
          means: As RunningAutocorrelation holds them, [batch, n_frames, N_LAGS + 2].
        """
        strengths, leading, n_frames = history[..., 0], history[..., 1:], tf.shape(rows)[0]
        correlations = autocorrelation(means)
        lag = beat_lag(correlations)
        next_row = rows[None, :, None] + 1
        beats = tf.cast(tf.cast(lag, tf.float32)[..., None] * tf.constant(_ONSET_BEATS), tf.int32)
        on_beats = tf.gather(strengths, next_row - beats, axis=1, batch_dims=1)
        latest = tf.gather(strengths, rows[:, None] - tf.range(_LATEST_ONSETS)[None, :], axis=1)
        beat_rows = next_row - lag[..., None] * tf.constant(_COMPONENT_BEATS)
        leading_on_beats = tf.gather(leading, beat_rows, axis=1, batch_dims=1)
        before_beat = tf.gather(leading, beat_rows[..., 0] - 1, axis=1, batch_dims=1)
        parts = [
            tf.cast(lag, tf.float32)[..., None] / LONGEST_LAG,
            correlations,
            on_beats,
            latest,
            tf.reshape(leading_on_beats, [-1, n_frames, len(_COMPONENT_BEATS) * self.n_leading]),
            leading_on_beats[:, :, 0] - before_beat,
        ]
        return tf.concat([tf.reshape(p, [-1, n_frames, p.shape[-1]]) for p in parts], axis=-1)

"""Copies of training recordings in clips, and how much clips differ from one another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from audio.config import AudioConfig
from audio.quality import FLOOR_NATS

Floating = npt.NDArray[np.floating]
Float64 = npt.NDArray[np.float64]

# Length of a stretch, seconds.
STRETCH_SECONDS = 1.5
# Number of neighbouring frames that are averaged. Each stretch is searched for at all of as many
# phases, so a copy is found wherever it begins.
_POOLED_FRAMES = 4
# Number of principal components that are compared.
_N_COMPONENTS = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nearest:
    """For each stretch, the most similar stretch of all recordings.

    Attributes:
      distance: Root mean square difference of log-mel, nats, [n_stretches].
      recording: Index of the recording, [n_stretches].
      frame: First frame in that recording, [n_stretches].
    """

    distance: Float64
    recording: npt.NDArray[np.int64]
    frame: npt.NDArray[np.int64]


class NearestStretch:
    """Finds the stretch of real music that is most similar to each stretch of some clips.

    Clips are cut into consecutive stretches of 1.5 s. The difference of two stretches is the root
    mean square over frames and bands, after averaging frames by four and projecting them onto the
    32 directions in which music varies most. It is 0 if a model reproduces its training music.
    What counts is how the distances of generated clips compare with those of real music that the
    model was not trained on.

    Args:
      sample: Frames of music to compute the directions from, [n, n_mels].
      config: Front end.

    References:
      Meehan, Chaudhuri and Dasgupta, "A non-parametric test to detect data-copying in generative
        models", 2020: distances of generated and of held-out samples to the training set compared.
    """

    def __init__(self, sample: Floating, config: AudioConfig) -> None:
        self._size = max(1, config.frames_for(STRETCH_SECONDS) // _POOLED_FRAMES)
        self._n_mels = config.n_mels
        frames = np.maximum(sample, FLOOR_NATS).astype(np.float64)
        _, vectors = np.linalg.eigh(np.cov(frames, rowvar=False))
        self._basis = vectors[:, ::-1][:, :_N_COMPONENTS].astype(np.float32)

    @property
    def n_frames(self) -> int:
        """Number of frames of one stretch."""
        return self._size * _POOLED_FRAMES

    def cut(self, clips: Floating) -> npt.NDArray[np.float32]:
        """Returns the stretches of clips as points for `find`.

        Args:
          clips: Log-mel, [n_clips, n_frames, n_mels].

        Returns:
          float32 [n_clips, n_stretches, _POOLED_FRAMES, n_features]: each stretch at every phase.
          n_stretches is 0 if the clips are shorter than one stretch.
        """
        span = self.n_frames + _POOLED_FRAMES - 1
        starts = range(0, clips.shape[1] - span + 1, self.n_frames)
        points = [
            self._points(clips[:, start + phase : start + phase + self.n_frames])[:, 0]
            for start in starts
            for phase in range(_POOLED_FRAMES)
        ]
        shape = (len(clips), len(starts), _POOLED_FRAMES, self._size * self._basis.shape[1])
        if not points:
            return np.zeros(shape, np.float32)
        return np.stack(points, axis=1).reshape(shape)

    def find(self, stretches: Floating, recordings: Iterable[Floating]) -> Nearest:
        """Returns the nearest stretch of the recordings for each stretch that `cut` returned.

        Args:
          stretches: [..., _POOLED_FRAMES, n_features]; leading dimensions are flattened.
          recordings: Log-mel of each recording, [n_frames, n_mels]. They are read once, and one
            at a time.
        """
        points = stretches.reshape(-1, stretches.shape[-1])
        best = np.full(len(points), np.inf, np.float32)
        recording, frame = np.zeros((2, len(points)), np.int64)
        for index, music in enumerate(recordings):
            if len(music) < self.n_frames:
                continue
            # |a - b|^2 = |b|^2 - 2 a.b + |a|^2 for all pairs of a stretch and a place.
            places = self._points(music[None])[0]
            squared = np.square(places).sum(axis=1)[None] - 2 * points @ places.T
            squared += np.square(points).sum(axis=1)[:, None]
            place = squared.argmin(axis=1)
            least = squared[np.arange(len(points)), place]
            nearer = least < best
            best = np.where(nearer, least, best)
            recording = np.where(nearer, index, recording)
            frame = np.where(nearer, place * _POOLED_FRAMES, frame)
        phase = best.reshape(-1, _POOLED_FRAMES).argmin(axis=1)
        rows = np.arange(len(phase)) * _POOLED_FRAMES + phase
        cells = self._size * self._n_mels
        return Nearest(
            distance=np.sqrt(np.maximum(best[rows], 0).astype(np.float64) / cells),
            recording=recording[rows],
            frame=frame[rows],
        )

    def _points(self, clips: Floating) -> npt.NDArray[np.float32]:
        """Returns every stretch of clips as a point: [n_clips, n_places, n_features]."""
        projected = np.maximum(clips, FLOOR_NATS).astype(np.float32) @ self._basis
        count = projected.shape[1] // _POOLED_FRAMES
        pooled = projected[:, : count * _POOLED_FRAMES]
        pooled = pooled.reshape(len(clips), count, _POOLED_FRAMES, -1).mean(axis=2)
        windows = np.lib.stride_tricks.sliding_window_view(pooled, self._size, axis=1)
        return np.ascontiguousarray(windows).reshape(len(clips), windows.shape[1], -1)


def longest_copy(
    nearest: Nearest, n_stretches: int, *, below: float, n_frames: int
) -> npt.NDArray[np.int64]:
    """Returns the longest passage of each clip that follows one recording, frames.

    Stretches that follow one another form a passage if each is a copy, and the places that they
    copy follow one another in the same recording, too.

    Args:
      nearest: What `find` returned for the stretches of the clips, clip by clip.
      n_stretches: Stretches of each clip.
      below: A stretch is a copy if its distance is below this, nats.
      n_frames: Frames of one stretch.

    Returns:
      int64 [n_clips], 0 for a clip without copies.
    """
    distance, recording, frame = (
        values.reshape(-1, n_stretches)
        for values in (nearest.distance, nearest.recording, nearest.frame)
    )
    is_copy = distance < below
    step = np.abs(np.diff(frame, axis=1) - n_frames) <= 2 * _POOLED_FRAMES
    follows = step & (np.diff(recording, axis=1) == 0)
    run = is_copy[:, 0].astype(np.int64)
    longest = run.copy()
    for index in range(1, n_stretches):
        run = np.where(is_copy[:, index], np.where(follows[:, index - 1], run + 1, 1), 0)
        longest = np.maximum(longest, run)
    return np.asarray(longest * n_frames)


def mean_distance(features: Floating, other_features: Floating) -> float:
    """Returns how much pairs of clips differ: the mean Euclidean distance of their segments.

    Args:
      features: Features of the segments of some clips, [n_clips, n_segments, n_features]; see
        similarity.segment_statistics and KernelDistance.standardise.
      other_features: The same for the other clip of each pair.
    """
    return float(np.linalg.norm(features - other_features, axis=-1).mean())

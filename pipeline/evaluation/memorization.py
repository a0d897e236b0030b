"""Whether generated frames are new: unlike the music learnt from, and unlike one another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from audio.config import AudioConfig
from audio.quality import FLOOR_NATS

Floating = npt.NDArray[np.floating]
Float64 = npt.NDArray[np.float64]

STRETCH_SECONDS = 1.5
# Frames are taken together by so many; a copy is found at any phase all the same.
_POOLED = 4
_DIMENSIONS = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nearest:
    """What real music each stretch is most like.

    Attributes:
      distance: root mean square difference of log-mel, nats, [n_stretches].
      recording: index of the recording, [n_stretches].
      frame: where it begins there, [n_stretches].
    """

    distance: Float64
    recording: npt.NDArray[np.int64]
    frame: npt.NDArray[np.int64]


class NearestStretch:
    """Looks for the stretch of real music that is most like each of some others.

    Stretches of 1.5 s are cut from the clips one after the other. The difference to a stretch of
    music is the root mean square over its frames and bands, after frames were averaged by four and
    projected on the 32 directions in which music varies most. Where a model gives what it learnt
    from, it is 0; what matters is how that of generated clips compares to that of real music that
    was not learnt from.

    Args:
      sample: frames of music, [n, n_mels], to find the directions from.
      config: the front end.

    References:
      Meehan, Chaudhuri and Dasgupta, "A non-parametric test to detect data-copying in generative
        models", 2020: distances of generated and of held-out samples to the training set compared.
    """

    def __init__(self, sample: Floating, config: AudioConfig) -> None:
        self._size = max(1, config.frames_for(STRETCH_SECONDS) // _POOLED)
        self._n_mels = config.n_mels
        frames = np.maximum(sample, FLOOR_NATS).astype(np.float64)
        _, vectors = np.linalg.eigh(np.cov(frames, rowvar=False))
        self._basis = vectors[:, ::-1][:, :_DIMENSIONS].astype(np.float32)

    @property
    def n_frames(self) -> int:
        """Frames of one stretch."""
        return self._size * _POOLED

    def cut(self, clips: Floating) -> npt.NDArray[np.float32]:
        """Returns the stretches of clips [n_clips, n_frames, n_mels] as points, for `find`.

        Returns:
          float32 [n_clips, n_stretches, _POOLED, n_features]: each stretch at every phase; none
          where the clips are shorter than one.
        """
        span = self.n_frames + _POOLED - 1
        starts = range(0, clips.shape[1] - span + 1, self.n_frames)
        points = [
            self._points(clips[:, start + phase : start + phase + self.n_frames])[:, 0]
            for start in starts
            for phase in range(_POOLED)
        ]
        shape = (len(clips), len(starts), _POOLED, self._size * self._basis.shape[1])
        if not points:
            return np.zeros(shape, np.float32)
        return np.stack(points, axis=1).reshape(shape)

    def find(self, stretches: Floating, recordings: Iterable[Floating]) -> Nearest:
        """Returns the nearest of what recordings hold, for stretches as `cut` gives them.

        Args:
          stretches: [..., _POOLED, n_features]; all but the last two dimensions are one.
          recordings: natural-log mel [n_frames, n_mels] each; gone through once, and not kept.
        """
        points = stretches.reshape(-1, stretches.shape[-1])
        shape = (-1, _POOLED)
        best = np.full(len(points), np.inf, np.float32)
        recording, frame = np.zeros((2, len(points)), np.int64)
        for index, music in enumerate(recordings):
            if len(music) < self.n_frames:
                continue
            found = self._points(music[None])[0]
            squared = np.square(found).sum(axis=1)[None] - 2 * points @ found.T
            squared += np.square(points).sum(axis=1)[:, None]
            place = squared.argmin(axis=1)
            least = squared[np.arange(len(points)), place]
            nearer = least < best
            best = np.where(nearer, least, best)
            recording, frame = (
                np.where(nearer, new, old)
                for new, old in ((index, recording), (place * _POOLED, frame))
            )
        phase = best.reshape(shape).argmin(axis=1)
        rows = np.arange(len(phase)) * _POOLED + phase
        cells = self._size * self._n_mels
        return Nearest(
            distance=np.sqrt(np.maximum(best[rows], 0).astype(np.float64) / cells),
            recording=recording[rows],
            frame=frame[rows],
        )

    def _points(self, clips: Floating) -> npt.NDArray[np.float32]:
        """Returns every stretch of clips as a point: [n_clips, n_places, n_features]."""
        heard = np.maximum(clips, FLOOR_NATS).astype(np.float32) @ self._basis
        count = heard.shape[1] // _POOLED
        pooled = heard[:, : count * _POOLED].reshape(len(clips), count, _POOLED, -1).mean(axis=2)
        windows = np.lib.stride_tricks.sliding_window_view(pooled, self._size, axis=1)
        return np.ascontiguousarray(windows).reshape(len(clips), windows.shape[1], -1)


def apart(one: Floating, other: Floating) -> float:
    """Returns how unlike pairs of clips are: the mean distance of their features, piece by piece.

    Args:
      one: features of the pieces of clips, [n_clips, n_pieces, n_features]; see
        realism.statistics and KernelDistance.standardised.
      other: of the clips that those are held against.
    """
    return float(np.linalg.norm(one - other, axis=-1).mean())

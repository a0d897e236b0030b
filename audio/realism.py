"""How much generated frames are like real ones: movement, rhythm, variety, distance.

All functions take natural-log mel of several clips, [n_clips, n_frames, n_mels]. Compare with real
clips that went through the same vocoder: Griffin-Lim alone moves statistics more than a change of
style does.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from audio.config import AudioConfig
from audio.quality import level_db

Floating = npt.NDArray[np.floating]
Float64 = npt.NDArray[np.float64]

# Quieter than this cannot be heard beside the rest, but would rule logarithms.
FLOOR_NATS = -8.0
_SEGMENT_SECONDS = 3.0
_SHORTEST_BEAT, _LONGEST_BEAT = 0.2, 1.2  # seconds
_LONGEST_LOOP = 4.0
_SMALLEST_RISE = 1e-3
_BANDWIDTHS = (1.0, 4.0, 16.0, 64.0)


def movement(clips: Floating) -> Float64:
    """Returns the mean rise from frame to frame of each clip, nats (spectral flux)."""
    heard = np.maximum(clips, FLOOR_NATS).astype(np.float64)
    return np.asarray(np.maximum(np.diff(heard, axis=1), 0).mean(axis=(1, 2)))


def variance(clips: Floating) -> Float64:
    """Returns the variance over time of each clip, the mean over bands, nats²."""
    return np.asarray(np.maximum(clips, FLOOR_NATS).astype(np.float64).var(axis=1).mean(axis=1))


def drift(clips: Floating, config: AudioConfig) -> Float64:
    """Returns how far the level of the last quarter of each clip is from the first's, dB."""
    quarter = max(1, clips.shape[1] // 4)
    levels = [np.maximum(level_db(clip, config), -80.0) for clip in clips]
    return np.array([each[-quarter:].mean() - each[:quarter].mean() for each in levels])


def rhythm(clips: Floating, config: AudioConfig) -> Float64:
    """Returns how regular onsets are: the highest autocorrelation at a beat's distance, 0 to 1.

    It is that of the logarithm of spectral flux, over lags of 0.2 to 1.2 s.
    """
    heard = np.maximum(clips, FLOOR_NATS).astype(np.float64)
    strengths = np.log(np.maximum(np.diff(heard, axis=1), 0).mean(axis=2) + _SMALLEST_RISE)
    strengths -= strengths.mean(axis=1, keepdims=True)
    n_frames = strengths.shape[1]
    lags = range(
        round(_SHORTEST_BEAT * config.frames_per_second),
        min(round(_LONGEST_BEAT * config.frames_per_second), n_frames - 2) + 1,
    )
    if not lags:
        return np.zeros(len(strengths))
    power = np.maximum(np.square(strengths).mean(axis=1), 1e-12)
    found = [(strengths[:, lag:] * strengths[:, :-lag]).mean(axis=1) / power for lag in lags]
    return np.asarray(np.maximum(np.max(found, axis=0), 0.0))


def repetition(clips: Floating, config: AudioConfig) -> Float64:
    """Returns how exactly each clip repeats itself at its best lag of 0.2 to 4 s, 0 to 1.

    It is the share of the variance that the frames one lag before explain: a mechanical loop has 1.
    """
    heard = np.maximum(clips, FLOOR_NATS).astype(np.float64)
    total = np.maximum(heard.var(axis=1).mean(axis=1), 1e-12)
    n_frames = heard.shape[1]
    best = np.zeros(len(heard))
    longest = min(round(_LONGEST_LOOP * config.frames_per_second), n_frames // 2)
    for lag in range(round(_SHORTEST_BEAT * config.frames_per_second), longest + 1):
        error = np.square(heard[:, lag:] - heard[:, :-lag]).mean(axis=(1, 2)) / 2
        best = np.maximum(best, 1 - error / total)
    return best


def statistics(clips: Floating, config: AudioConfig) -> Float64:
    """Returns mean, deviation and flux of each band over stretches of 3 s: [n, 3 * n_mels]."""
    size = max(2, min(config.frames_for(_SEGMENT_SECONDS), clips.shape[1]))
    heard = np.maximum(clips, FLOOR_NATS).astype(np.float64)
    count = clips.shape[1] // size
    pieces = heard[:, : count * size].reshape(-1, size, clips.shape[2])
    rises = np.maximum(np.diff(pieces, axis=1), 0).mean(axis=1)
    return np.concatenate([pieces.mean(axis=1), pieces.std(axis=1), rises], axis=1)


class KernelDistance:
    """Unbiased squared maximum mean discrepancy from a reference, times 1000.

    The kernel is the mean of Gaussians whose bandwidths are multiples of the median distance within
    the reference, on features that are standardised by the reference: fixed for all that is held
    against it. With one bandwidth alone, everything that is far would be equally far. The same
    distribution has 0 on average, which includes values below; 2000 is the most.

    Args:
      reference: features of real clips, [n, n_features].

    References:
      Gretton et al., "A kernel two-sample test", 2012: the estimator. Chung et al., "KAD", 2025:
        its use for generated audio.
    """

    def __init__(self, reference: Floating) -> None:
        self._centre = reference.mean(axis=0)
        self._scale = np.maximum(reference.std(axis=0), 1e-6)
        self._reference = (reference - self._centre) / self._scale
        squared = _squared_distances(self._reference, self._reference)
        apart = squared[~np.eye(len(squared), dtype=bool)]
        self._bandwidth = float(np.median(apart))
        self._within = self._mean_of_pairs(self._reference)

    def __call__(self, features: Floating) -> float:
        """Returns the distance of features [n >= 2, n_features]."""
        others = (features - self._centre) / self._scale
        across = self._kernel(others, self._reference).mean()
        return float(1000 * (self._within + self._mean_of_pairs(others) - 2 * across))

    def _kernel(self, a: Floating, b: Floating) -> Float64:
        squared = _squared_distances(a, b) / (2 * self._bandwidth)
        return np.asarray(np.mean([np.exp(-squared / factor) for factor in _BANDWIDTHS], axis=0))

    def _mean_of_pairs(self, features: Floating) -> float:
        kernel = self._kernel(features, features)
        n = len(kernel)
        return float((kernel.sum() - np.trace(kernel)) / (n * (n - 1)))


def _squared_distances(a: Floating, b: Floating) -> Float64:
    squared = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)[None] - 2 * a @ b.T
    return np.asarray(np.maximum(squared, 0.0))

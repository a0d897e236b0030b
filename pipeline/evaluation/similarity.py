"""How much generated frames are like real ones: movement, rhythm, variety, distance.

All functions take natural-log mel of several clips, [n_clips, n_frames, n_mels]. Compare with real
clips that went through the same vocoder: Griffin-Lim alone moves statistics more than a change of
style does.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from audio.config import AudioConfig
from audio.quality import FLOOR_NATS, level_db

Floating = npt.NDArray[np.floating]
Float64 = npt.NDArray[np.float64]

_SEGMENT_SECONDS = 3.0
_SHORTEST_BEAT, _LONGEST_BEAT = 0.2, 1.2  # seconds
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


def attack(clips: Floating) -> Float64:
    """Returns how much steeper each clip rises than it falls: a reversed one changes sign.

    With d the changes of log-mel from frame to frame, over all frames and bands, it is
    mean(d³) / mean(d²)^1.5. Struck and plucked notes rise within a frame and fall for a second: 0.2
    to 2. What has no direction of time has 0.

    References:
      Schreiber and Schmitz, "Discrimination power of measures for nonlinearity in a time series",
        1997: the statistic, as a test of reversibility.
    """
    change = np.diff(np.maximum(clips, FLOOR_NATS).astype(np.float64), axis=1)
    power = np.maximum(np.square(change).mean(axis=(1, 2)), 1e-12)
    return np.asarray((change**3).mean(axis=(1, 2)) / power**1.5)


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

    With k the kernel, x the reference and y what is held against it, it is mean k(x, x') + mean
    k(y, y') - 2 mean k(x, y), over pairs from different clips. The kernel is the mean of Gaussians
    whose bandwidths are multiples of the median distance within the reference, on features that are
    standardised by the reference: fixed for all that is held against it. With one bandwidth alone,
    everything that is far would be equally far. The same distribution has 0 on average, which
    includes values below; 2000 is the most.

    Args:
      reference: features of real clips, [n, n_features].
      per_clip: rows that come from one clip, one after the other; they are alike without being the
        same distribution, and are no pairs.

    References:
      Gretton et al., "A kernel two-sample test", 2012: the estimator. Chung et al., "KAD", 2025:
        its use for generated audio.
    """

    def __init__(self, reference: Floating, *, per_clip: int = 1) -> None:
        self._centre = reference.mean(axis=0)
        self._scale = np.maximum(reference.std(axis=0), 1e-6)
        self._per_clip = per_clip
        self._reference = self.standardised(reference)
        squared = _squared_distances(self._reference, self._reference)
        apart = squared[~np.eye(len(squared), dtype=bool)]
        self._bandwidth = max(float(np.median(apart)), 1e-12)
        kernel = self._kernel(self._reference, self._reference)
        self._within = float(self._mean_of_pairs(kernel, np.ones((1, len(kernel))))[0])

    def standardised(self, features: Floating) -> Float64:
        """Returns features [..., n_features] in deviations of the reference from its mean."""
        return np.asarray((features - self._centre) / self._scale)

    def __call__(self, features: Floating) -> float:
        """Returns the distance of features [n, n_features] of two clips or more."""
        return float(self.draws(features, np.ones((1, len(features) // self._per_clip)))[0])

    def draws(self, features: Floating, weights: Floating) -> Float64:
        """Returns the distances of clips drawn again, for a bootstrap; the reference stays.

        Args:
          features: [n_clips * per_clip, n_features].
          weights: how often each clip is drawn, [n_draws, n_clips], see resamples.

        Returns:
          [n_draws].
        """
        others = self.standardised(features)
        rows = np.repeat(np.asarray(weights, np.float64), self._per_clip, axis=1)
        across = rows @ self._kernel(others, self._reference).mean(axis=1) / rows.sum(axis=1)
        within = self._mean_of_pairs(self._kernel(others, others), rows)
        return np.asarray(1000 * (self._within + within - 2 * across))

    def _kernel(self, a: Floating, b: Floating) -> Float64:
        squared = _squared_distances(a, b) / (2 * self._bandwidth)
        return np.asarray(np.mean([np.exp(-squared / factor) for factor in _BANDWIDTHS], axis=0))

    def _mean_of_pairs(self, kernel: Float64, weights: Float64) -> Float64:
        """Returns the mean over pairs from different clips, for weights [n_draws, n]."""
        clip = np.arange(len(kernel)) // self._per_clip
        apart = clip[:, None] != clip[None]
        total = np.einsum("di,ij,dj->d", weights, np.where(apart, kernel, 0), weights)
        pairs = np.einsum("di,ij,dj->d", weights, apart.astype(np.float64), weights)
        return np.asarray(total / np.maximum(pairs, 1e-12))


def resamples(n_clips: int, rng: np.random.Generator, *, n_draws: int = 400) -> Float64:
    """Returns how often each clip is drawn, with replacement: [n_draws, n_clips].

    References:
      Efron and Tibshirani, "An introduction to the bootstrap", 1993.
    """
    return rng.multinomial(n_clips, np.full(n_clips, 1 / n_clips), size=n_draws).astype(np.float64)


def interval(draws: Floating) -> tuple[float, float]:
    """Returns the middle 90% of bootstrap draws."""
    low, high = np.quantile(draws, (0.05, 0.95))
    return float(low), float(high)


def _squared_distances(a: Floating, b: Floating) -> Float64:
    squared = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)[None] - 2 * a @ b.T
    return np.asarray(np.maximum(squared, 0.0))

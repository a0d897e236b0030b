"""Figures of clips that are compared with real ones: movement, rhythm, variety, distance.

All functions take natural-log mel of several clips, [n_clips, n_frames, n_mels]. Compare them with
real clips that went through the same vocoder: Griffin-Lim alone changes these figures more than
another style does.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from audio.config import AudioConfig
from audio.quality import FLOOR_NATS, level_db

Floating = npt.NDArray[np.floating]
Float64 = npt.NDArray[np.float64]

# Length of the segments that segment_statistics describes, seconds.
_SEGMENT_SECONDS = 3.0
# Least deviation that features are divided by, nats. In bands that hardly vary over the reference,
# inaudible differences would otherwise count as large ones.
_MIN_DEVIATION = 0.02
# Shortest period of a beat, seconds.
_MIN_BEAT_SECONDS = 0.3
# Longest period of a beat, seconds.
_MAX_BEAT_SECONDS = 1.2
# Added to spectral flux before its logarithm is taken, nats.
_MIN_FLUX = 1e-3
# Bandwidths of the kernels, as multiples of the median squared distance within the reference.
_BANDWIDTHS = (1.0, 4.0, 16.0, 64.0)
# Lowest level that counts for drift, dB re. full scale.
_MIN_LEVEL_DB = -80.0


def movement(clips: Floating) -> Float64:
    """Returns the mean rise from frame to frame of each clip, nats (spectral flux)."""
    return np.asarray(np.maximum(np.diff(_floored(clips), axis=1), 0).mean(axis=(1, 2)))


def variance(clips: Floating) -> Float64:
    """Returns the variance over time of each clip, averaged over bands, nats²."""
    return np.asarray(_floored(clips).var(axis=1).mean(axis=1))


def drift(clips: Floating, config: AudioConfig) -> Float64:
    """Returns the level of each clip's last quarter minus that of its first quarter, dB."""
    quarter = max(1, clips.shape[1] // 4)
    levels = [np.maximum(level_db(clip, config), _MIN_LEVEL_DB) for clip in clips]
    return np.array([level[-quarter:].mean() - level[:quarter].mean() for level in levels])


def rhythm(clips: Floating, config: AudioConfig) -> Float64:
    """Returns how regular the onsets of each clip are, 0 to 1.

    It is the highest autocorrelation of the logarithm of spectral flux, over lags of 0.3 to 1.2 s.
    """
    flux = np.maximum(np.diff(_floored(clips), axis=1), 0).mean(axis=2)
    strengths = np.log(flux + _MIN_FLUX)
    strengths -= strengths.mean(axis=1, keepdims=True)
    n_frames = strengths.shape[1]
    lags = range(
        round(_MIN_BEAT_SECONDS * config.frames_per_second),
        min(round(_MAX_BEAT_SECONDS * config.frames_per_second), n_frames - 2) + 1,
    )
    if not lags:
        return np.zeros(len(strengths))
    power = np.maximum(np.square(strengths).mean(axis=1), 1e-12)
    correlations = [(strengths[:, lag:] * strengths[:, :-lag]).mean(axis=1) / power for lag in lags]
    return np.asarray(np.maximum(np.max(correlations, axis=0), 0.0))


def attack(clips: Floating) -> Float64:
    """Returns how much steeper each clip rises than it falls. Played backwards, the sign changes.

    With d the changes of log-mel from frame to frame, over all frames and bands, it is
    mean(d³) / mean(d²)^1.5. Struck and plucked notes rise within a frame and fall for a second,
    which gives 0.2 to 2. A signal that sounds the same backwards has 0.

    References:
      Schreiber and Schmitz, "Discrimination power of measures for nonlinearity in a time series",
        1997: the statistic, as a test of reversibility.
    """
    change = np.diff(_floored(clips), axis=1)
    power = np.maximum(np.square(change).mean(axis=(1, 2)), 1e-12)
    return np.asarray((change**3).mean(axis=(1, 2)) / power**1.5)


def segment_statistics(clips: Floating, config: AudioConfig) -> Float64:
    """Returns mean, standard deviation and flux of each band, for segments of 3 s.

    Returns:
      float64 [n_segments, 3 * n_mels]; the segments of a clip follow one another.
    """
    size = max(2, min(config.frames_for(_SEGMENT_SECONDS), clips.shape[1]))
    count = clips.shape[1] // size
    segments = _floored(clips)[:, : count * size].reshape(-1, size, clips.shape[2])
    flux = np.maximum(np.diff(segments, axis=1), 0).mean(axis=1)
    return np.concatenate([segments.mean(axis=1), segments.std(axis=1), flux], axis=1)


class KernelDistance:
    """Unbiased squared maximum mean discrepancy from a reference, times 1000.

    With k the kernel, x the reference and y the compared features, it is mean k(x, x') + mean
    k(y, y') - 2 mean k(x, y), over pairs from different clips. The kernel is a mean of Gaussians
    whose bandwidths are multiples of the median distance within the reference. Bandwidths and
    standardisation follow from the reference alone, so they are the same for everything that is
    compared with it. With a single bandwidth, all that is far away would be equally far. Equal
    distributions have 0 on average, so single values may be negative; the maximum is 2000.

    Args:
      reference: Features of real clips, [n, n_features].
      per_clip: Number of consecutive rows that come from one clip. Such rows resemble each other
        whatever their distribution, so they do not form pairs.

    References:
      Gretton et al., "A kernel two-sample test", 2012: the estimator. Chung et al., "KAD", 2025:
        its use for generated audio.
    """

    def __init__(self, reference: Floating, *, per_clip: int = 1) -> None:
        self._centre = reference.mean(axis=0)
        self._scale = np.maximum(reference.std(axis=0), _MIN_DEVIATION)
        self._per_clip = per_clip
        self._reference = self.standardise(reference)
        squared = _squared_distances(self._reference, self._reference)
        between = squared[~np.eye(len(squared), dtype=bool)]
        self._bandwidth = max(float(np.median(between)), 1e-12)
        kernel = self._kernel(self._reference, self._reference)
        self._within = float(self._mean_of_pairs(kernel, np.ones((1, len(kernel))))[0])

    def standardise(self, features: Floating) -> Float64:
        """Returns features [..., n_features] standardised by the reference's mean and deviation."""
        return np.asarray((features - self._centre) / self._scale)

    def __call__(self, features: Floating) -> float:
        """Returns the distance of features [n, n_features] of two clips or more."""
        return float(self.resample(features, np.ones((1, len(features) // self._per_clip)))[0])

    def resample(self, features: Floating, weights: Floating) -> Float64:
        """Returns the distances of bootstrap samples of clips from the same reference.

        Args:
          features: Features of the clips, [n_clips * per_clip, n_features].
          weights: How often each clip is drawn, [n_draws, n_clips], see bootstrap_weights.

        Returns:
          [n_draws].
        """
        standardised = self.standardise(features)
        rows = np.repeat(np.asarray(weights, np.float64), self._per_clip, axis=1)
        across = rows @ self._kernel(standardised, self._reference).mean(axis=1) / rows.sum(axis=1)
        within = self._mean_of_pairs(self._kernel(standardised, standardised), rows)
        return np.asarray(1000 * (self._within + within - 2 * across))

    def _kernel(self, a: Floating, b: Floating) -> Float64:
        squared = _squared_distances(a, b) / (2 * self._bandwidth)
        return np.asarray(np.mean([np.exp(-squared / factor) for factor in _BANDWIDTHS], axis=0))

    def _mean_of_pairs(self, kernel: Float64, weights: Float64) -> Float64:
        """Returns the mean over pairs from different clips, for weights [n_draws, n]."""
        clip = np.arange(len(kernel)) // self._per_clip
        is_pair = clip[:, None] != clip[None]
        total = np.einsum("di,ij,dj->d", weights, np.where(is_pair, kernel, 0), weights)
        pairs = np.einsum("di,ij,dj->d", weights, is_pair.astype(np.float64), weights)
        return np.asarray(total / np.maximum(pairs, 1e-12))


def bootstrap_weights(n_clips: int, rng: np.random.Generator, *, n_draws: int = 400) -> Float64:
    """Returns how often each clip is drawn with replacement, [n_draws, n_clips].

    References:
      Efron and Tibshirani, "An introduction to the bootstrap", 1993.
    """
    return rng.multinomial(n_clips, np.full(n_clips, 1 / n_clips), size=n_draws).astype(np.float64)


def middle_90_percent(draws: Floating) -> tuple[float, float]:
    """Returns the 5th and the 95th percentile of bootstrap draws."""
    low, high = np.quantile(draws, (0.05, 0.95))
    return float(low), float(high)


def _floored(clips: Floating) -> Float64:
    """Returns clips with everything below the floor of hearing raised to it."""
    return np.maximum(clips, FLOOR_NATS).astype(np.float64)


def _squared_distances(a: Floating, b: Floating) -> Float64:
    squared = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)[None] - 2 * a @ b.T
    return np.asarray(np.maximum(squared, 0.0))

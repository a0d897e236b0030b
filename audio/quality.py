"""Figures of log-mel frames, for dataset statistics, checks of clips, and evaluation."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import numpy.typing as npt

from audio.config import AudioConfig
from audio.mel import mel_edges
from audio.stft import hann_window

Floating = npt.NDArray[np.floating]
Float64 = npt.NDArray[np.float64]

# Frames below this level count as silent, dB re. a full-scale sine.
SILENCE_DB = -60.0
# Lower log-mel values are raised to this before frames are compared, nats: they are inaudible, but
# would dominate differences of logarithms.
FLOOR_NATS = -8.0
# Lags at which `repetition` looks for loops.
_SHORTEST_LOOP_SECONDS = 0.2
_LONGEST_LOOP_SECONDS = 4.0


def level_db(frames: Floating, config: AudioConfig) -> Float64:
    """Returns the level of each frame in dB re. a full-scale sine, float64 [n_frames].

    Each filter overlaps half of its neighbours and has unit area, so its height is 2 / width.
    Divided by their heights, the filters add up to one at every bin. The sum of the power spectrum
    is therefore the sum of mel power times half a width, and Parseval's theorem turns it into the
    mean square of the samples.

    Args:
      frames: Natural-log mel [n_frames, n_mels].
      config: The front end of the frames.
    """
    mean_square = np.exp(frames.astype(np.float64)) @ _mean_square_weights(config)
    return np.asarray(10 * np.log10(np.maximum(2 * mean_square, 1e-20)))


@functools.lru_cache(maxsize=16)
def _mean_square_weights(config: AudioConfig) -> Float64:
    """Returns the mean square of samples per unit of power in each band, float64 [n_mels]."""
    edges = mel_edges(config)
    energy = config.n_fft * float(np.sum(hann_window(config) ** 2))
    # The mean square is twice the one-sided sum of |X|², divided by n_fft * sum(window²).
    weights: Float64 = (edges[2:] - edges[:-2]) / energy
    return weights


def flux(frames: Floating) -> float:
    """Returns the mean rise of log-mel from one frame to the next, nats; 0 for one frame."""
    if len(frames) < 2:
        return 0.0
    return float(np.maximum(np.diff(frames.astype(np.float32), axis=0), 0).mean())


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrameFigures:
    """Figures of consecutive frames; audio/contract.py describes them under the same names."""

    level_db: float
    peak_db: float
    silence_share: float
    flux: float


def measure_frames(frames: Floating, config: AudioConfig) -> FrameFigures:
    """Returns the figures of log-mel frames [n_frames, n_mels], n_frames at least 1."""
    levels = level_db(frames, config)
    mean_power = float(np.mean(10 ** (levels / 10)))
    return FrameFigures(
        level_db=10 * float(np.log10(max(mean_power, 1e-20))),
        peak_db=float(levels.max()),
        silence_share=float((levels < SILENCE_DB).mean()),
        flux=flux(frames),
    )


def bandwidth_hz(mean_log_mel: Floating, config: AudioConfig, *, below_db: float = 80.0) -> float:
    """Returns the highest frequency at which a recording has content, Hz.

    It is the upper edge of the highest band whose power density is within below_db of the strongest
    band. Material that was upsampled from a lower rate ends at half of that rate. The mean is taken
    of logarithms, because a single click, or a cut at the end, fills all bands of a mean of powers.

    Args:
      mean_log_mel: Mean natural-log mel of the recording [n_mels].
      config: The front end of the frames.
      below_db: Level below the strongest band at which a band counts as empty, dB.
    """
    threshold = mean_log_mel.max() - below_db * np.log(10) / 10
    return float(mel_edges(config)[2:][np.flatnonzero(mean_log_mel >= threshold)[-1]])


def centroid_hz(mean_power: Floating, config: AudioConfig) -> float:
    """Returns the spectral centroid of a recording's mean mel power [n_mels], Hz."""
    edges = mel_edges(config)
    # Filters have unit area, so mel power is a density: energy is density times width.
    energy = mean_power.astype(np.float64) * (edges[2:] - edges[:-2])
    return float(energy @ edges[1:-1] / energy.sum())


def repetition(clips: Floating, config: AudioConfig) -> Float64:
    """Returns how exactly each clip repeats itself, 0 to 1, float64 [n_clips].

    It is the share of the variance that is explained by the frames one lag earlier, at the best lag
    from 0.2 to 4 s. A mechanical loop has 1.

    Args:
      clips: Natural-log mel [n_clips, n_frames, n_mels].
      config: The front end of the frames.
    """
    audible = np.maximum(clips, FLOOR_NATS).astype(np.float64)
    total = np.maximum(audible.var(axis=1).mean(axis=1), 1e-12)
    n_frames = audible.shape[1]
    best = np.zeros(len(audible))
    longest = min(round(_LONGEST_LOOP_SECONDS * config.frames_per_second), n_frames // 2)
    for lag in range(round(_SHORTEST_LOOP_SECONDS * config.frames_per_second), longest + 1):
        error = np.square(audible[:, lag:] - audible[:, :-lag]).mean(axis=(1, 2)) / 2
        best = np.maximum(best, 1 - error / total)
    return best

"""What log-mel frames sound like, in figures: one place for statistics, health and evaluation."""

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

SILENCE_DB = -60.0
# Quieter than this cannot be heard beside the rest, but would rule logarithms.
FLOOR_NATS = -8.0
_SHORTEST_LOOP_SECONDS = 0.2
_LONGEST_LOOP_SECONDS = 4.0


def level_db(frames: Floating, config: AudioConfig) -> Float64:
    """Returns the level of each frame in dB re. a full-scale sine, float64 [n_frames].

    The filters half overlap and are of unit area, that is 2 / width high. Divided by their heights
    they add up to one at every bin, so the power spectrum's sum is the sum of mel power times half
    a width; Parseval gives the mean square from that.

    Args:
      frames: natural-log mel [n_frames, n_mels].
      config: the front end that made them.
    """
    mean_square = np.exp(frames.astype(np.float64)) @ _mean_square_weights(config)
    return np.asarray(10 * np.log10(np.maximum(2 * mean_square, 1e-20)))


@functools.lru_cache(maxsize=16)
def _mean_square_weights(config: AudioConfig) -> Float64:
    """Returns what each band's power adds to the samples' mean square, float64 [n_mels]."""
    edges = mel_edges(config)
    energy = config.n_fft * float(np.sum(hann_window(config) ** 2))
    # Twice the one-sided sum of |X|² over n_fft * sum(window²) is the mean square; a sine's is 1/2.
    weights: Float64 = (edges[2:] - edges[:-2]) / energy
    return weights


def flux(frames: Floating) -> float:
    """Returns the mean rise of log-mel from one frame to the next, nats; 0 for one frame."""
    if len(frames) < 2:
        return 0.0
    return float(np.maximum(np.diff(frames.astype(np.float32), axis=0), 0).mean())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
    """A stretch of frames in four numbers; the names are those of the record's features."""

    level_db: float
    peak_db: float
    silence_share: float
    flux: float


def figures(frames: Floating, config: AudioConfig) -> Figures:
    """Returns the figures of log-mel frames [n_frames, n_mels], n_frames at least 1."""
    levels = level_db(frames, config)
    mean_power = float(np.mean(10 ** (levels / 10)))
    return Figures(
        level_db=10 * float(np.log10(max(mean_power, 1e-20))),
        peak_db=float(levels.max()),
        silence_share=float((levels < SILENCE_DB).mean()),
        flux=flux(frames),
    )


def bandwidth_hz(mean_log_mel: Floating, config: AudioConfig, *, below_db: float = 80.0) -> float:
    """Returns up to where a recording has anything to hear, Hz.

    That is the upper edge of the highest band whose density is within below_db of the strongest:
    material that was upsampled from a lower rate ends at half of that rate. The mean is of
    logarithms, because one click, or the cut at a recording's end, fills every band of a mean of
    powers.

    Args:
      mean_log_mel: natural-log mel averaged over the recording [n_mels].
      config: the front end that made it.
      below_db: how far under the strongest band counts as nothing.
    """
    least = mean_log_mel.max() - below_db * np.log(10) / 10
    return float(mel_edges(config)[2:][np.flatnonzero(mean_log_mel >= least)[-1]])


def centroid_hz(mean_power: Floating, config: AudioConfig) -> float:
    """Returns the spectral centroid of a recording's mean mel power [n_mels], Hz."""
    edges = mel_edges(config)
    # Filters are of unit area, so power is a density; bands are as wide as their spacing.
    energy = mean_power.astype(np.float64) * (edges[2:] - edges[:-2])
    return float(energy @ edges[1:-1] / energy.sum())


def repetition(clips: Floating, config: AudioConfig) -> Float64:
    """Returns how exactly each clip repeats itself at its best lag of 0.2 to 4 s, 0 to 1.

    It is the share of the variance that the frames one lag before explain: a mechanical loop has 1.
    """
    heard = np.maximum(clips, FLOOR_NATS).astype(np.float64)
    total = np.maximum(heard.var(axis=1).mean(axis=1), 1e-12)
    n_frames = heard.shape[1]
    best = np.zeros(len(heard))
    longest = min(round(_LONGEST_LOOP_SECONDS * config.frames_per_second), n_frames // 2)
    for lag in range(round(_SHORTEST_LOOP_SECONDS * config.frames_per_second), longest + 1):
        error = np.square(heard[:, lag:] - heard[:, :-lag]).mean(axis=(1, 2)) / 2
        best = np.maximum(best, 1 - error / total)
    return best

"""Figures of single clips that hear notes, chords, beats and attacks.

Each figure is one number for one clip. All of them are measured on sound: rollouts and real
passages both pass through the vocoder first, because Griffin-Lim alone moves such figures.
"""

from __future__ import annotations

from typing import Final

import librosa
import numpy as np
import numpy.typing as npt
from librosa.decompose import hpss

from audio.config import AudioConfig
from pipeline.evaluation import similarity
from pipeline.evaluation.figure_table import FIGURES

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

# Constant-Q transform: two bins a semitone from C1 (32.7 Hz), over as many octaves as fit.
_BINS_PER_OCTAVE: Final = 24
_LOWEST_HZ: Final = 32.703
_MAX_OCTAVES: Final = 7
# Magnitudes more than this far below a clip's loudest one count as silence, dB.
_RANGE_DB: Final = 60.0
# Shorter clips are followed by silence up to this length before the transform, seconds.
_SHORTEST_SECONDS: Final = 2.0
# Partials are what stands out of a smoothed spectrum; it is smoothed over this many bins.
_SMOOTHING_BINS: Final = 12
# Harmonic-percussive separation looks at frequencies below this, where notes are, Hz.
_HIGHEST_HARMONIC_HZ: Final = 6000.0
# Steps of chords are looked for between half seconds.
_CHORD_SECONDS: Final = 0.5
# Two half seconds whose chroma is less alike than this (cosine) hold different chords.
_SAME_CHORD: Final = 0.9
# The best match of a half second is looked for this far away and further, seconds.
_RECURRENCE_SECONDS: Final = 2.0


def measure_clip(samples: Float32, log_mel: Float32, audio: AudioConfig) -> dict[str, float]:
    """Returns every figure of FIGURES for one clip.

    Args:
      samples: Mono sound at the front end's rate, float32 [n_samples].
      log_mel: The same clip's natural-log mel, float32 [n_frames, n_mels].
      audio: The front end.
    """
    magnitudes = _constant_q(samples, audio)
    clip = log_mel[None]
    figures = {
        **_partials(magnitudes, audio),
        **_harmonics(samples, audio),
        **_chords(magnitudes, audio),
        "beat": float(similarity.rhythm(clip, audio)[0]),
        "attack": float(similarity.attack(clip)[0]),
        "movement": float(similarity.movement(clip)[0]),
        "variance": float(similarity.variance(clip)[0]),
        "brightness_octaves": _brightness(magnitudes),
        "level_drift_db": float(abs(similarity.drift(clip, audio)[0])),
    }
    return {name: figures[name] for name in FIGURES}


def _constant_q(samples: Float32, audio: AudioConfig) -> Float64:
    """Returns constant-Q magnitudes relative to the loudest, [n_bins, n_frames]."""
    octaves = int(min(_MAX_OCTAVES, np.floor(np.log2(0.45 * audio.sample_rate / _LOWEST_HZ))))
    loudest = float(np.abs(samples).max(initial=0.0))
    if loudest > 0:
        samples = samples / loudest
    # The lowest octave needs a few of its own windows.
    shortest = int(_SHORTEST_SECONDS * audio.sample_rate)
    samples = np.pad(samples, (0, max(0, shortest - len(samples))))
    spectrum = librosa.cqt(
        samples,
        sr=audio.sample_rate,
        hop_length=_cqt_hop(audio),
        fmin=_LOWEST_HZ,
        n_bins=octaves * _BINS_PER_OCTAVE,
        bins_per_octave=_BINS_PER_OCTAVE,
    )
    magnitudes = np.abs(spectrum).astype(np.float64)
    return magnitudes / max(float(magnitudes.max(initial=0.0)), 1e-9)


def _cqt_hop(audio: AudioConfig) -> int:
    """Returns about 23 ms in samples, as a power of two, which octave recursion wants."""
    return int(2 ** round(np.log2(0.0232 * audio.sample_rate)))


def _partials(magnitudes: Float64, audio: AudioConfig) -> dict[str, float]:
    """Returns how well the ridges of the spectrum agree with those some time later.

    The log spectrum less its smoothed self leaves the partials. The figure is the correlation over
    bins of a frame's partials with those of a later frame, averaged with the frames' levels as
    weights.
    """
    decibels = 20 * np.log10(np.maximum(magnitudes, 10 ** (-_RANGE_DB / 20)))
    kernel = np.ones(_SMOOTHING_BINS + 1) / (_SMOOTHING_BINS + 1)
    padded = np.pad(decibels, ((_SMOOTHING_BINS // 2,) * 2, (0, 0)), mode="edge")
    smooth = np.apply_along_axis(np.convolve, 0, padded, kernel, mode="valid")
    ridges = decibels - smooth
    ridges = ridges - ridges.mean(axis=0)
    norms = np.sqrt(np.square(ridges).sum(axis=0))
    level = decibels.mean(axis=0) + _RANGE_DB
    per_second = audio.sample_rate / _cqt_hop(audio)
    figures = {}
    for name, seconds in (("100ms", 0.1), ("500ms", 0.5), ("1s", 1.0)):
        lag = max(1, round(seconds * per_second))
        if ridges.shape[1] <= lag:
            figures[f"partials_{name}"] = 0.0
            continue
        product = (ridges[:, lag:] * ridges[:, :-lag]).sum(axis=0)
        correlation = product / np.maximum(norms[lag:] * norms[:-lag], 1e-6)
        weight = np.sqrt(np.maximum(level[lag:] * level[:-lag], 0.0)) + 1e-6
        figures[f"partials_{name}"] = float((correlation * weight).sum() / weight.sum())
    return figures


def _harmonics(samples: Float32, audio: AudioConfig) -> dict[str, float]:
    """Returns the harmonic share of the energy, and the spectral flatness in dB."""
    n_fft = 2 ** round(np.log2(0.093 * audio.sample_rate))
    spectrum = np.abs(librosa.stft(samples, n_fft=n_fft, hop_length=n_fft // 2))
    bins = int(min(_HIGHEST_HARMONIC_HZ, audio.sample_rate / 2) / audio.sample_rate * n_fft)
    spectrum = np.maximum(spectrum[1:bins], 1e-9)
    harmonic, percussive = hpss(spectrum, kernel_size=(17, 31))
    shares = np.square(harmonic).sum(), np.square(percussive).sum()
    power = np.square(spectrum).astype(np.float64)
    flatness = np.exp(np.log(power).mean(axis=0)) / power.mean(axis=0)
    loud = power.sum(axis=0) > 1e-4 * power.sum(axis=0).max()
    return {
        "harmonic_share": float(shares[0] / max(shares[0] + shares[1], 1e-12)),
        "flatness_db": float(10 * np.log10(max(float(np.median(flatness[loud])), 1e-8))),
    }


def _chords(magnitudes: Float64, audio: AudioConfig) -> dict[str, float]:
    """Returns what the chroma of half seconds does: how long it stays, changes and comes back."""
    folded = np.square(magnitudes).reshape(-1, 12, _BINS_PER_OCTAVE // 12, magnitudes.shape[1])
    chroma = folded.sum(axis=(0, 2))
    per_chord = max(1, round(_CHORD_SECONDS * audio.sample_rate / _cqt_hop(audio)))
    count = chroma.shape[1] // per_chord
    if count < 2:
        names = ("top_pitches", "chord_kept_500ms", "chord_kept_2s", "chord_changes", "recurrence")
        return dict.fromkeys(names, 0.0)
    halves = chroma[:, : count * per_chord].reshape(12, count, per_chord).sum(axis=2)
    top = np.sort(halves, axis=0)[-3:].sum(axis=0) / np.maximum(halves.sum(axis=0), 1e-12)
    halves = np.sqrt(halves)
    halves = halves / np.maximum(np.linalg.norm(halves, axis=0), 1e-9)
    alike = halves.T @ halves
    later = min(count - 1, round(_RECURRENCE_SECONDS / _CHORD_SECONDS))
    steps = np.diagonal(alike, 1)
    distance = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    far = np.where(distance >= later, alike, -1.0).max(axis=1)
    return {
        "top_pitches": float(top.mean()),
        "chord_kept_500ms": float(steps.mean()),
        "chord_kept_2s": float(np.diagonal(alike, later).mean()),
        "chord_changes": float((steps < _SAME_CHORD).mean()),
        "recurrence": float(far.mean()),
    }


def _brightness(magnitudes: Float64) -> float:
    """Returns the mean height of the spectrum's centre of gravity above the lowest bin, octaves."""
    power = np.square(magnitudes)
    heights = np.arange(len(power)) / _BINS_PER_OCTAVE
    return float((heights @ power.sum(axis=1)) / max(float(power.sum()), 1e-12))

"""The mel front end: log-mel frames of samples, at several times the speed of librosa.

Two things make it fast (figures: benchmarks/README.md). A block of frames stays in the L2 cache
from the window to the logarithm (audio/stft.py). The filter bank is 98 % zeros, so the matrix
product is cut into bands of neighbouring mel filters, each touching only the bins that it needs.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from audio.config import AudioConfig
from audio.errors import AudioError
from audio.stft import BLOCK_FRAMES, cut_frames, hann_window, power_spectra, to_spectra

Float32 = npt.NDArray[np.float32]
Floating = npt.NDArray[np.floating]
Float64 = npt.NDArray[np.float64]

# Number of bands that the filter bank is cut into; of 4, 6, 8 and 12, 8 are fastest.
_N_BANDS = 8


def log_mel(samples: npt.ArrayLike, config: AudioConfig, *, exact: bool = False) -> Float32:
    """Returns the natural-log mel spectrogram of one recording.

    Frames are centred and zero-padded, as in librosa with center=True: the centre of frame t is
    sample t * hop_length, and there are 1 + n_samples // hop_length frames.

    Args:
      samples: float32 [n_samples], mono, in [-1, 1], at config.sample_rate.
      config: The front end.
      exact: Whether to compute in float64, which takes 1.6 times as long.

    Returns:
      float32 [n_frames, n_mels], at least log(log_floor).

    Raises:
      AudioError: `samples` is empty, not mono, or not finite.
    """
    array = np.asarray(samples)
    if array.ndim != 1:
        raise AudioError(f"wanted mono samples [n_samples], got shape {array.shape}")
    stream = LogMelStream(config, exact=exact)
    return np.concatenate([stream.push(array), stream.finish()])


class LogMelStream:
    """Computes log_mel of a recording that arrives in pieces.

    Frames are always computed in the same groups of BLOCK_FRAMES, whatever the pieces are, so the
    result does not depend on where pieces end, to the last bit.
    """

    def __init__(self, config: AudioConfig, *, exact: bool = False) -> None:
        dtype = np.dtype(np.float64 if exact else np.float32)
        self._config = config
        self._window = hann_window(config).astype(dtype)
        self._bands = mel_bands(config, dtype)
        # Samples of one block. Half a frame of zeros at first centres frame 0 on sample 0.
        n_samples = (BLOCK_FRAMES - 1) * config.hop_length + config.n_fft
        self._samples = np.zeros(n_samples, dtype)
        self._n_waiting = config.n_fft // 2
        self._is_empty = True
        self._frames = np.empty((BLOCK_FRAMES, config.n_fft), dtype)
        self._power = np.empty((BLOCK_FRAMES, config.n_bins), dtype)
        self._mel = np.empty((BLOCK_FRAMES, config.n_mels), dtype)

    def push(self, samples: npt.ArrayLike) -> Float32:
        """Takes the next samples [n] and returns the frames of the blocks that are now complete.

        Raises:
          AudioError: A sample is not finite.
        """
        array = np.asarray(samples)
        self._is_empty &= not array.size
        step = BLOCK_FRAMES * self._config.hop_length
        # The last samples of a block are also the first ones of the next block.
        kept = len(self._samples) - step
        n_blocks = (self._n_waiting + array.size - kept) // step
        log_mel = np.empty((max(0, n_blocks) * BLOCK_FRAMES, self._config.n_mels), np.float32)
        at = 0
        for row in range(0, len(log_mel), BLOCK_FRAMES):
            at += self._fill(array[at : at + len(self._samples) - self._n_waiting])
            self._compute(BLOCK_FRAMES, log_mel[row : row + BLOCK_FRAMES])
            self._samples[:kept] = self._samples[step:]
            self._n_waiting = kept
        self._fill(array[at:])
        return log_mel

    def finish(self) -> Float32:
        """Returns the frames that were still waiting for samples.

        Raises:
          AudioError: No sample was pushed.
        """
        if self._is_empty:
            raise AudioError("wanted at least one sample, got none")
        config = self._config
        full = self.push(np.zeros(config.n_fft // 2))
        count = max(0, 1 + (self._n_waiting - config.n_fft) // config.hop_length)
        last = np.empty((count, config.n_mels), np.float32)
        self._compute(count, last)
        return np.concatenate([full, last])

    def _fill(self, samples: npt.NDArray[np.floating]) -> int:
        if not np.isfinite(samples).all():
            raise AudioError("wanted finite samples, got NaN or infinity")
        self._samples[self._n_waiting : self._n_waiting + len(samples)] = samples
        self._n_waiting += len(samples)
        return len(samples)

    def _compute(self, count: int, log_mel: Float32) -> None:
        """Writes log-mel of the first `count` frames of the buffered samples."""
        # A block with fewer frames is padded with zeros: a product of another size could round
        # differently.
        cut_frames(self._samples, self._window, self._config.hop_length, count, self._frames)
        power_spectra(to_spectra(self._frames), self._power)
        mel_spectra(self._power, self._bands, self._mel)
        log_mel[:] = self._mel[:count]
        np.maximum(log_mel, np.float32(self._config.log_floor), out=log_mel)
        np.log(log_mel, out=log_mel)


class MelBand(NamedTuple):
    """Some neighbouring filters: power[:, bins] @ weights is the mel power of filters `mels`."""

    bins: slice
    mels: slice
    weights: npt.NDArray[np.floating]


@functools.lru_cache(maxsize=16)
def mel_bands(config: AudioConfig, dtype: np.dtype[Any]) -> list[MelBand]:
    """Cuts the filter bank into bands that each need only a part of the bins."""
    filterbank = mel_filterbank(config)
    edges = np.linspace(0, config.n_mels, min(_N_BANDS, config.n_mels) + 1).astype(int)
    bands = []
    for first, last in itertools.pairwise(edges):
        used = np.flatnonzero(filterbank[first:last].any(axis=0))
        # A filter that is narrower than a bin may be all zeros; its band then has one bin.
        low, high = (used[0], used[-1] + 1) if used.size else (0, 1)
        weights = np.ascontiguousarray(filterbank[first:last, low:high].T, dtype)
        bands.append(MelBand(slice(low, high), slice(first, last), weights))
    return bands


def mel_spectra(power: Floating, bands: list[MelBand], mel: Floating) -> None:
    """Writes the mel power of power spectra [n_rows, n_bins] to mel [n_rows, n_mels or more]."""
    for bins, mels, weights in bands:
        np.matmul(power[:, bins], weights, out=mel[:, mels])


@functools.lru_cache(maxsize=16)
def mel_filterbank(config: AudioConfig) -> Float64:
    """Returns triangular mel filters, each of unit area over Hz, float64 [n_mels, n_bins].

    References:
      Slaney, "Auditory Toolbox", 1998: mel scale and area normalisation.
    """
    edges = mel_edges(config)
    bins = np.linspace(0, config.sample_rate / 2, config.n_bins)
    lower, centre, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (bins - lower) / (centre - lower)
    falling = (upper - bins) / (upper - centre)
    filters: Float64 = np.maximum(0, np.minimum(rising, falling)) * (2 / (upper - lower))
    filters.flags.writeable = False  # because the array is cached and shared
    return filters


def mel_edges(config: AudioConfig) -> Float64:
    """Returns edges of filters, Hz, float64 [n_mels + 2].

    Filter m starts at edge m, has its peak at edge m + 1, and ends at edge m + 2.
    """
    low, high = _hz_to_mel(config.fmin), _hz_to_mel(config.upper_edge)
    return _mel_to_hz(np.linspace(low, high, config.n_mels + 2))


# Slaney's mel scale: linear up to 1 kHz (15 mel), then logarithmic, with 27 mel per factor of 6.4.
_HZ_PER_MEL = 200 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27


def _hz_to_mel(hz: float) -> float:
    if hz < _BREAK_HZ:
        return hz / _HZ_PER_MEL
    return _BREAK_MEL + float(np.log(hz / _BREAK_HZ)) / float(_LOG_STEP)


def _mel_to_hz(mel: Float64) -> Float64:
    above = _BREAK_HZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * _HZ_PER_MEL, above)

"""The mel front end: samples -> log-mel frames, at several times the speed of librosa.

Three things make it fast (figures: benchmarks/README.md). A block of 32 frames stays in the L2
cache from the window to the logarithm. The power spectrum comes from a complex transform of half
the length (audio/power_spectrum.py). The filter bank is 98 % zeros, so the matrix product is cut
into bands of neighbouring mel filters, each touching only the bins that it needs.
"""

from __future__ import annotations

import functools
import itertools
import threading

import numpy as np
import numpy.typing as npt

from audio.config import AudioConfig
from audio.errors import AudioError
from audio.power_spectrum import PowerSpectra

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

BLOCK_FRAMES = 32
_PIECE = 1 << 16  # samples that are looked at together, small enough to stay in the cache
_N_BANDS = 8


def log_mel(samples: npt.ArrayLike, config: AudioConfig, *, exact: bool = False) -> Float32:
    """Returns the natural-log mel spectrogram of one recording.

    Frames are centred and zero-padded: frame t is about sample t * hop_length, and there are
    1 + n_samples // hop_length of them, as librosa's with center=True.

    Args:
      samples: float32 [n_samples], mono, in [-1, 1], at config.sample_rate.
      config: the front end.
      exact: compute in float64; half as fast.

    Returns:
      float32 [n_frames, n_mels], at least log(log_floor).

    Raises:
      AudioError: samples is empty, not mono, or not finite.
    """
    array = np.asarray(samples)
    if array.ndim != 1:
        raise AudioError(f"wanted mono samples [n_samples], got shape {array.shape}")
    if array.size == 0:
        raise AudioError("wanted at least one sample, got none")
    stream = LogMelStream(config, exact=exact)
    return np.concatenate([stream.push(array), stream.finish()])


def n_frames(n_samples: int, config: AudioConfig) -> int:
    """Returns how many frames log_mel gives for n_samples samples."""
    return config.n_frames(n_samples)


class LogMelStream:
    """log_mel of a recording that arrives in pieces; the pieces' borders leave no trace.

    Frames are always computed in the same groups of BLOCK_FRAMES, whatever the pieces, so the
    result is equal to the bit.
    """

    def __init__(self, config: AudioConfig, *, exact: bool = False) -> None:
        self._config = config
        self._kernel = _kernel(config, exact)
        # Centring: half a frame of zeros before the first sample.
        self._pending = np.zeros(config.n_fft // 2, self._kernel.dtype)
        self._n_samples = 0

    def push(self, samples: npt.ArrayLike) -> Float32:
        """Takes the next samples [n] and returns the frames that are complete now.

        Raises:
          AudioError: samples is not finite.
        """
        array = np.asarray(samples)
        pieces = [self._push(array[at : at + _PIECE]) for at in range(0, array.size, _PIECE)]
        return pieces[0] if len(pieces) == 1 else np.concatenate([self._take(0), *pieces])

    def _push(self, array: npt.NDArray[np.floating]) -> Float32:
        if not np.isfinite(array).all():
            raise AudioError("wanted finite samples, got NaN or infinity")
        self._n_samples += array.size
        self._pending = np.concatenate([self._pending, array], dtype=self._kernel.dtype)
        config = self._config
        complete = max(0, 1 + (self._pending.size - config.n_fft) // config.hop_length)
        return self._take(complete - complete % BLOCK_FRAMES)

    def finish(self) -> Float32:
        """Returns the frames that were still waiting for samples.

        Raises:
          AudioError: no sample was pushed.
        """
        if self._n_samples == 0:
            raise AudioError("wanted at least one sample, got none")
        config = self._config
        padding = np.zeros(config.n_fft // 2, self._kernel.dtype)
        self._pending = np.concatenate([self._pending, padding])
        return self._take(1 + (self._pending.size - config.n_fft) // config.hop_length)

    def _take(self, count: int) -> Float32:
        frames = np.empty((count, self._config.n_mels), np.float32)
        if count:
            hop = self._config.hop_length
            view = np.lib.stride_tricks.sliding_window_view(self._pending, self._config.n_fft)
            view = view[: (count - 1) * hop + 1 : hop]
            for start in range(0, count, BLOCK_FRAMES):
                stop = min(start + BLOCK_FRAMES, count)
                frames[start:stop] = self._kernel(view[start:stop])
            self._pending = self._pending[count * hop :].copy()
        return frames


class _Kernel:
    """Window, FFT, power, mel, logarithm for one block of frames, on buffers made once."""

    def __init__(self, config: AudioConfig, exact: bool) -> None:
        self.dtype: type[np.floating] = np.float64 if exact else np.float32
        self._window = hann_window(config).astype(self.dtype)
        self._spectra = PowerSpectra(n_rows=BLOCK_FRAMES, n_fft=config.n_fft, dtype=self.dtype)
        self._bands = mel_products(mel_filterbank(config), self.dtype)
        self._floor = self.dtype(config.log_floor)
        self._mel = np.empty((BLOCK_FRAMES, config.n_mels), self.dtype)

    def __call__(self, frames: npt.NDArray[np.floating]) -> Float32:
        """Returns log-mel of up to BLOCK_FRAMES frames, overwritten by the next call."""
        count = len(frames)
        np.multiply(frames, self._window, out=self._spectra.frames[:count])
        # A short block still runs whole, so that a frame's bits do not hang on its neighbours.
        self._spectra.frames[count:] = 0
        power = self._spectra()
        for bins, mels, weights in self._bands:
            np.matmul(power[:, bins], weights, out=self._mel[:, mels])
        np.maximum(self._mel, self._floor, out=self._mel)
        np.log(self._mel, out=self._mel)
        return self._mel[:count].astype(np.float32, copy=False)


_local = threading.local()


def _kernel(config: AudioConfig, exact: bool) -> _Kernel:
    """One kernel per thread and configuration: its buffers are not shared, nor pickled."""
    kernels: dict[tuple[AudioConfig, bool], _Kernel] = _local.__dict__.setdefault("kernels", {})
    if (config, exact) not in kernels:
        kernels[config, exact] = _Kernel(config, exact)
    return kernels[config, exact]


def mel_products(
    filterbank: Float64, dtype: type[np.floating]
) -> list[tuple[slice, slice, npt.NDArray[np.floating]]]:
    """Cuts the filter bank [n_mels, n_bins] into products over neighbouring filters.

    Returns:
      For each band: the bins that it reads, the mel bands that it writes, and the weights between
      them.
    """
    n_mels = len(filterbank)
    edges = np.linspace(0, n_mels, min(_N_BANDS, n_mels) + 1).astype(int)
    bands = []
    for first, last in itertools.pairwise(edges):
        used = np.flatnonzero(filterbank[first:last].any(axis=0))
        # A filter narrower than a bin may be all zeros; its product is then over one zero bin.
        low, high = (used[0], used[-1] + 1) if used.size else (0, 1)
        weights = np.ascontiguousarray(filterbank[first:last, low:high].T, dtype)
        bands.append((slice(low, high), slice(first, last), weights))
    return bands


def hann_window(config: AudioConfig) -> Float64:
    """Returns the periodic Hann window, float64 [n_fft]."""
    phase = 2 * np.pi * np.arange(config.n_fft) / config.n_fft
    return np.asarray(0.5 - 0.5 * np.cos(phase), np.float64)


@functools.lru_cache(maxsize=16)
def mel_filterbank(config: AudioConfig) -> Float64:
    """Returns triangular mel filters, each of unit area in Hz, float64 [n_mels, n_bins].

    References:
      Slaney, "Auditory Toolbox", 1998: mel scale and area normalisation.
    """
    edges = mel_edges(config)
    bins = np.linspace(0, config.sample_rate / 2, config.n_bins)
    lower, centre, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (bins - lower) / (centre - lower)
    falling = (upper - bins) / (upper - centre)
    filters: Float64 = np.maximum(0, np.minimum(rising, falling)) * (2 / (upper - lower))
    filters.flags.writeable = False  # it is cached, and so shared
    return filters


def mel_edges(config: AudioConfig) -> Float64:
    """Returns where filters start, peak and end, Hz: band m spans m, m + 1 and m + 2."""
    low, high = _hz_to_mel(config.fmin), _hz_to_mel(config.upper_edge)
    return _mel_to_hz(np.linspace(low, high, config.n_mels + 2))


# Slaney's scale: linear below 1 kHz (15 mel), then logarithmic, 27 mel for a factor of 6.4.
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

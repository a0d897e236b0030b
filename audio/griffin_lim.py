"""Mel-consistent fast Griffin-Lim, a block of frames at a time.

An iteration takes the STFT of the signal, scales its magnitudes by the smooth ratio of the target
mel power to its own, and overlap-adds the frames to the next signal. A block of frames goes through
all of this before the next block, so that it stays in the L2 cache. The published algorithm applies
momentum to spectra; here it is applied to the signal. The STFT is linear, so the spectra move in
the same way except for their magnitudes, and no spectrum has to be kept (decision 8).
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from audio.compiled import compiled
from audio.config import AudioConfig
from audio.mel import mel_bands, mel_filterbank, mel_spectra
from audio.stft import (
    BLOCK_FRAMES,
    cut_frames,
    hann_window,
    power_spectra,
    to_frames,
    to_spectra,
)

Float32 = npt.NDArray[np.float32]

# Share of the last step that is repeated: the best of 0.6 to 0.99 (decision 8).
_MOMENTUM = np.float32(0.9)
# Lower limit of the mel power, or the magnitude, in a denominator.
_TINY = np.float32(1e-12)
# Upper limit of a ratio of powers: an iteration raises a magnitude by at most 40 dB, so that an
# empty bin cannot explode.
_MAX_RATIO = np.float32(1e4)


def griffin_lim(
    target: Float32, noise: Float32, config: AudioConfig, *, iterations: int
) -> Float32:
    """Returns a signal whose mel power is close to a target.

    Args:
      target: Mel power [n_frames, n_mels].
      noise: Standard normal samples [n_frames * hop_length]. The first phases are those of its
        STFT: overlapping frames agree, which independently drawn phases would not.
      config: The front end of the mel power.
      iterations: Number of iterations after the one that shapes the noise.

    Returns:
      float32 [(n_frames - 1) * hop_length].

    References:
      Griffin and Lim, "Signal estimation from modified short-time Fourier transform", 1984.
      Perraudin, Balazs and Søndergaard, "A fast Griffin-Lim algorithm", 2013: the momentum.
    """
    hop, half = config.hop_length, config.n_fft // 2
    n_samples = (len(target) - 1) * hop
    window = hann_window(config).astype(np.float32)
    inverse_weight = _inverse_weight(config, len(target))
    frames = np.empty((BLOCK_FRAMES, config.n_fft), np.float32)
    power = np.empty((BLOCK_FRAMES, config.n_bins), np.float32)
    # The last band stays zero: see _bin_shares.
    ratio = np.zeros((BLOCK_FRAMES, config.n_mels + 1), np.float32)
    bands = mel_bands(config, np.dtype(np.float32))
    first_band, shares = _bin_shares(config)
    signal = np.zeros(n_samples + config.n_fft, np.float32)
    signal[half : half + n_samples] = noise[:n_samples]
    previous, total = np.zeros_like(signal), np.empty_like(signal)
    for iteration in range(1 + iterations):
        total[:] = 0
        for start in range(0, len(target), BLOCK_FRAMES):
            block = target[start : start + BLOCK_FRAMES]
            count, at = len(block), start * hop
            cut_frames(signal[at:], window, hop, count, frames)
            spectra = to_spectra(frames)
            power_spectra(spectra, power)
            if iteration == 0:
                # Only the phases of the noise are used: all magnitudes become 1.
                magnitudes = np.maximum(np.sqrt(power), _TINY)
                spectra /= np.repeat(magnitudes, 2, axis=1)[:, 1:-1]
                ratio[:count, :-1] = block
            else:
                mel_spectra(power, bands, ratio)
                _divide(block, ratio)
            _scale(spectra, ratio[:count], first_band, shares)
            _overlap_add(to_frames(spectra), window, hop, count, total[at:])
        # The noise is no step to repeat, and the result gets no momentum.
        momentum = _MOMENTUM if 0 < iteration < iterations else np.float32(0)
        _step(total, inverse_weight, momentum, previous, signal)
        signal[:half] = 0
        signal[half + n_samples :] = 0
    return signal[half : half + n_samples]


def _inverse_weight(config: AudioConfig, n_frames: int) -> Float32:
    """Returns 1 / (sum of the squared windows that cover a sample), float32 [n_samples + n_fft]."""
    hop, n_fft = config.hop_length, config.n_fft
    squared = hann_window(config) ** 2
    weight = np.zeros((n_frames - 1) * hop + n_fft)
    for index in range(n_frames):
        weight[index * hop : index * hop + n_fft] += squared
    return (1 / np.maximum(weight, 1e-3)).astype(np.float32)


@functools.lru_cache(maxsize=16)
def _bin_shares(config: AudioConfig) -> tuple[npt.NDArray[np.uint32], Float32]:
    """Returns how the ratios of mel bands are spread over bins.

    Returns:
      uint32 [n_bins], the first of the two neighbouring filters that cover a bin, and float32
      [2, n_bins], the shares of both, which add up to 1; 0 where no filter covers the bin.
    """
    filters = mel_filterbank(config)
    covers = filters > 0
    first = np.where(covers.any(axis=0), covers.argmax(axis=0), 0)
    # A filter of zeros after the last one, so that every bin has two.
    padded = np.vstack([filters, np.zeros(config.n_bins)])
    bins = np.arange(config.n_bins)
    pair = np.stack([padded[first, bins], padded[first + 1, bins]])
    total = pair.sum(axis=0)
    shares = np.divide(pair, total, out=np.zeros_like(pair), where=total > 0)
    # Unsigned: Numba need not check for negative indices, which takes a third of the gathering.
    return first.astype(np.uint32), shares.astype(np.float32)


@compiled(nogil=True)
def _overlap_add(frames: Float32, window: Float32, hop: int, count: int, total: Float32) -> None:
    """Adds the first `count` frames, windowed again, to the signal `total`."""
    for row in range(count):
        piece, frame = total[row * hop : row * hop + len(window)], frames[row]
        for k in range(len(window)):
            piece[k] += frame[k] * window[k]


@compiled(nogil=True)
def _step(
    total: Float32,
    inverse_weight: Float32,
    momentum: np.float32,
    previous: Float32,
    signal: Float32,
) -> None:
    """Writes the overlap-added signal, moved on by a share of its step since the last iteration."""
    for k in range(len(total)):
        current = total[k] * inverse_weight[k]
        signal[k] = current + momentum * (current - previous[k])
        previous[k] = current


@compiled(nogil=True)
def _divide(target: Float32, ratio: Float32) -> None:
    """Replaces mel power in `ratio` by the limited ratio of the target to it."""
    for row in range(len(target)):
        for k in range(target.shape[1]):
            ratio[row, k] = min(target[row, k] / max(ratio[row, k], _TINY), _MAX_RATIO)


@compiled(nogil=True)
def _scale(
    spectra: Float32, ratio: Float32, first_band: npt.NDArray[np.uint32], shares: Float32
) -> None:
    """Multiplies each bin by the root of the mean ratio of the bands that cover it."""
    low, high = shares[0], shares[1]
    last = len(first_band) - 1
    gain = np.empty(last + 1, np.float32)
    for row in range(len(ratio)):
        bands, spectrum = ratio[row], spectra[row]
        for k in range(last + 1):
            band = first_band[k]
            gain[k] = low[k] * bands[band] + high[k] * bands[band + 1]
        for k in range(last + 1):
            gain[k] = np.sqrt(gain[k])
        spectrum[0] *= gain[0]
        for k in range(1, last):
            spectrum[2 * k - 1] *= gain[k]
            spectrum[2 * k] *= gain[k]
        spectrum[2 * last - 1] *= gain[last]

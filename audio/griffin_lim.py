"""The rounds of mel-consistent fast Griffin-Lim, a block of frames at a time.

A round takes the STFT of the signal, scales its magnitudes by the smooth ratio of the wanted mel
power to its own, and adds the frames up again: all of it for a few frames before the next ones,
which stay in the processor's cache. The momentum of the fast algorithm, there on spectra, is here
on the signal: the STFT is linear, so what it moves is the same but for the magnitudes, and no
spectrum is kept from round to round.
"""

from __future__ import annotations

import threading

import numba
import numpy as np
import numpy.typing as npt
import pyfftw

from audio.config import AudioConfig
from audio.mel import hann_window, mel_filterbank, mel_products

Float32 = npt.NDArray[np.float32]

BLOCK_FRAMES = 32
# Of the move from round to round that is repeated: the best of 0.6 to 0.99 (docs/decisions/).
_MOMENTUM = np.float32(0.9)
_TINY = np.float32(1e-12)
# One round changes a magnitude by at most 40 dB, so that an empty bin cannot explode.
_MAX_GAIN = np.float32(1e4)


class GriffinLim:
    """Rounds on buffers made once; for one thread.

    Args:
      config: the front end of the mel power.

    References:
      Griffin and Lim, "Signal estimation from modified short-time Fourier transform", 1984.
      Perraudin, Balazs and Søndergaard, "A fast Griffin-Lim algorithm", 2013: the momentum.
    """

    def __init__(self, config: AudioConfig) -> None:
        self._config = config
        filters = mel_filterbank(config)
        self._window = hann_window(config).astype(np.float32)
        self._products = mel_products(filters, np.float32)
        self._band, self._shares = _shares(filters)
        self._frames = pyfftw.zeros_aligned((BLOCK_FRAMES, config.n_fft), np.float32)
        # FFTW is a fifth faster where every row begins on a cache line.
        self._padded = pyfftw.zeros_aligned(
            (BLOCK_FRAMES, -(-config.n_bins // 8) * 8), np.complex64
        )
        self._spectrum = self._padded[:, : config.n_bins]
        self._power = pyfftw.zeros_aligned((BLOCK_FRAMES, config.n_bins), np.float32)
        # The last band is always empty: see _shares.
        self._mel = np.zeros((BLOCK_FRAMES, config.n_mels + 1), np.float32)
        # FFTW_MEASURE would pick by the clock, and differ in the last bit from run to run.
        options = {"axes": (1,), "flags": ("FFTW_ESTIMATE", "FFTW_DESTROY_INPUT")}
        self._forward = pyfftw.FFTW(self._frames, self._spectrum, **options)
        self._inverse = pyfftw.FFTW(
            self._spectrum, self._frames, direction="FFTW_BACKWARD", **options
        )

    def __call__(self, target: Float32, noise: Float32, *, rounds: int) -> Float32:
        """Returns a signal of a mel power.

        Args:
          target: mel power [n_frames, n_mels].
          noise: standard normal [n_frames * hop_length]: the first phases are its own. Those of a
            signal agree with one another from frame to frame, where drawn ones would not.
          rounds: after the one that shapes the noise.

        Returns:
          float32 [(n_frames - 1) * hop_length].
        """
        config, half = self._config, self._config.n_fft // 2
        n_samples = (len(target) - 1) * config.hop_length
        weight = _inverse_weight(config, len(target))
        signal = np.zeros(n_samples + config.n_fft, np.float32)
        signal[half : half + n_samples] = noise[:n_samples]
        before, total = np.zeros_like(signal), np.empty_like(signal)
        for number in range(1 + rounds):
            total[:] = 0
            for start in range(0, len(target), BLOCK_FRAMES):
                wanted = target[start : start + BLOCK_FRAMES]
                at = start * config.hop_length
                _cut(signal[at:], self._window, config.hop_length, len(wanted), self._frames)
                self._forward.execute()
                self._shape(wanted, is_noise=number == 0)
                self._inverse.execute()
                _add(self._frames, self._window, config.hop_length, len(wanted), total[at:])
            # There is no move yet to be repeated, or no round to come.
            momentum = _MOMENTUM if 0 < number < rounds else np.float32(0)
            _go_on(total, weight, momentum, before, signal)
            signal[:half] = 0
            signal[half + n_samples :] = 0
        return signal[half : half + n_samples]

    def _shape(self, target: Float32, *, is_noise: bool) -> None:
        """Scales the spectrum's magnitudes towards the mel power of its frames."""
        ratio = self._mel[: len(target), :-1]
        if is_noise:
            # Only its phases are of use: magnitudes become those that the mel power has by itself.
            self._spectrum /= np.maximum(np.abs(self._spectrum), _TINY)
            ratio[:] = target
        else:
            _square(self._padded, self._power)
            for bins, mels, weights in self._products:
                np.matmul(self._power[:, bins], weights, out=self._mel[:, mels])
            np.maximum(ratio, _TINY, out=ratio)
            np.divide(target, ratio, out=ratio)
            np.minimum(ratio, _MAX_GAIN, out=ratio)
        _scale(self._padded, self._mel[: len(target)], self._band, self._shares)


def _inverse_weight(config: AudioConfig, n_frames: int) -> Float32:
    """Returns 1 / (n_fft * sum of squared windows) of each sample; FFTW's inverse is not scaled."""
    hop, n_fft = config.hop_length, config.n_fft
    squared = hann_window(config) ** 2
    weight = np.zeros((n_frames - 1) * hop + n_fft)
    for index in range(n_frames):
        weight[index * hop : index * hop + n_fft] += squared
    inverse: Float32 = (1 / (n_fft * np.maximum(weight, 1e-3))).astype(np.float32)
    return inverse


def _shares(
    filters: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.int32], Float32]:
    """Returns, for each bin, the first of the two filters that see it, and their shares.

    Returns:
      int32 [n_bins] and float32 [2, n_bins]; a bin that no filter sees has shares of zero.
    """
    n_bins = filters.shape[1]
    seen = filters > 0
    first = np.where(seen.any(axis=0), seen.argmax(axis=0), 0)
    # A band of nothing after the last, so that every bin has two.
    padded = np.vstack([filters, np.zeros(n_bins)])
    bins = np.arange(n_bins)
    pair = np.stack([padded[first, bins], padded[first + 1, bins]])
    total = pair.sum(axis=0)
    shares = np.divide(pair, total, out=np.zeros_like(pair), where=total > 0)
    return first.astype(np.int32), shares.astype(np.float32)


_local = threading.local()


def griffin_lim(config: AudioConfig) -> GriffinLim:
    """Returns this thread's rounds for a front end: buffers are neither shared nor pickled."""
    made: dict[AudioConfig, GriffinLim] = _local.__dict__.setdefault("made", {})
    if config not in made:
        made[config] = GriffinLim(config)
    return made[config]


@numba.njit(cache=True, nogil=True)
def _cut(signal, window, hop, count, frames):  # type: ignore[no-untyped-def]
    """Writes `count` windowed frames of the signal, and zeros below them."""
    for row in range(count):
        piece, out = signal[row * hop : row * hop + len(window)], frames[row]
        for k in range(len(window)):
            out[k] = piece[k] * window[k]
    frames[count:] = 0


@numba.njit(cache=True, nogil=True)
def _add(frames, window, hop, count, total):  # type: ignore[no-untyped-def]
    """Adds `count` frames, windowed again, to the signal."""
    for row in range(count):
        piece, frame = total[row * hop : row * hop + len(window)], frames[row]
        for k in range(len(window)):
            piece[k] += frame[k] * window[k]


@numba.njit(cache=True, nogil=True)
def _go_on(total, weight, momentum, before, signal):  # type: ignore[no-untyped-def]
    """Writes the signal that the weighted total is, moved on by the move since the round before."""
    for k in range(len(total)):
        found = total[k] * weight[k]
        signal[k] = found + momentum * (found - before[k])
        before[k] = found


@numba.njit(cache=True, nogil=True)
def _square(spectrum, power):  # type: ignore[no-untyped-def]
    for row in range(power.shape[0]):
        found, out = spectrum[row], power[row]
        for k in range(len(out)):
            out[k] = found[k].real * found[k].real + found[k].imag * found[k].imag


@numba.njit(cache=True, nogil=True)
def _scale(spectrum, ratio, first, shares):  # type: ignore[no-untyped-def]
    """Multiplies each bin by the root of the mean of the ratios that see it; clears other rows."""
    low, high = shares[0], shares[1]
    gain = np.empty(len(first), np.float32)
    for row in range(ratio.shape[0]):
        bands, out = ratio[row], spectrum[row]
        for k in range(len(first)):
            band = first[k]
            gain[k] = low[k] * bands[band] + high[k] * bands[band + 1]
        for k in range(len(first)):
            gain[k] = np.sqrt(gain[k])
        for k in range(len(first)):
            out[k] = complex(gain[k] * out[k].real, gain[k] * out[k].imag)
    spectrum[ratio.shape[0] :] = 0

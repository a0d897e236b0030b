"""Log-mel -> samples: mel-consistent fast Griffin-Lim.

The usual way inverts the mel filters once, by least squares, and then only looks for phases. Here
magnitudes stay free: each round takes the STFT of the current signal, sees what its mel power is,
and scales its own magnitudes by the smooth ratio of the wanted mel power to that. Detail between
the filters is then settled by consistency instead of by a guess (figures: benchmarks/README.md).

References:
  Griffin and Lim, "Signal estimation from modified short-time Fourier transform", 1984.
  Perraudin, Balazs and Søndergaard, "A fast Griffin-Lim algorithm", 2013: the momentum.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.fft

from audio.config import AudioConfig
from audio.errors import AudioError
from audio.mel import hann_window, mel_filterbank

Float32 = npt.NDArray[np.float32]
Complex64 = npt.NDArray[np.complex64]

DEFAULT_ITERATIONS = 32
_MOMENTUM = 0.99
_TINY = np.float32(1e-12)
# One round changes a magnitude by at most 40 dB, so that an empty bin cannot explode.
_MAX_GAIN = np.float32(1e4)


def vocode(
    log_mel: npt.ArrayLike,
    config: AudioConfig,
    *,
    rng: np.random.Generator,
    iterations: int = DEFAULT_ITERATIONS,
) -> Float32:
    """Returns samples whose log-mel is close to the given one.

    Args:
      log_mel: natural log [n_frames, n_mels], from the front end `config`.
      config: the front end.
      rng: where the first phases come from; the same state gives the same samples.
      iterations: rounds; 8 are quick, 32 are good.

    Returns:
      float32 [(n_frames - 1) * hop_length]; not limited to [-1, 1].

    Raises:
      AudioError: log_mel is not [n_frames >= 2, n_mels], or not finite.
    """
    target_log = np.asarray(log_mel, np.float32)
    if target_log.ndim != 2 or target_log.shape[1] != config.n_mels or len(target_log) < 2:
        raise AudioError(
            f"wanted log-mel [2 or more frames, {config.n_mels}], got {target_log.shape}"
        )
    if not np.isfinite(target_log).all():
        raise AudioError("wanted finite log-mel, got NaN or infinity")
    # A model that diverged may ask for e^100; nothing above e^30 is sound.
    target = np.exp(np.clip(target_log, config.log_mel_floor, 30))
    bank = _MelBank(config)
    transform = _Stft(config, len(target))
    magnitude = np.sqrt(bank.spread(target))
    phase = rng.random(magnitude.shape, np.float32) * np.float32(2 * np.pi)
    spectrum = magnitude * np.exp(1j * phase)
    previous = np.zeros_like(spectrum)
    for _ in range(iterations):
        rebuilt = transform.forward(transform.inverse(spectrum))
        magnitude = np.abs(rebuilt)
        ratio = np.minimum(target / np.maximum(bank.mel(magnitude**2), _TINY), _MAX_GAIN)
        magnitude *= np.sqrt(bank.spread(ratio))
        ahead = rebuilt + np.float32(_MOMENTUM) * (rebuilt - previous)
        spectrum = magnitude * (ahead / np.maximum(np.abs(ahead), _TINY))
        previous = rebuilt
    return transform.inverse(spectrum)


class _MelBank:
    """Bins to mel bands, and a smooth way back."""

    def __init__(self, config: AudioConfig) -> None:
        self._filters = mel_filterbank(config).astype(np.float32)
        columns = self._filters.sum(axis=0)
        # Bins that no filter sees carry no sound.
        inverse = np.divide(1, columns, out=np.zeros_like(columns), where=columns > 0)
        self._back = self._filters * inverse

    def mel(self, power: Float32) -> Float32:
        product: Float32 = power @ self._filters.T
        return product

    def spread(self, mel: Float32) -> Float32:
        """The weighted mean, at each bin, of the bands that see it."""
        product: Float32 = mel @ self._back
        return product


class _Stft:
    """Centred STFT of a fixed number of frames, and its least-squares inverse."""

    def __init__(self, config: AudioConfig, n_frames: int) -> None:
        self._n_fft, self._hop, self._n_frames = config.n_fft, config.hop_length, n_frames
        self._window = hann_window(config).astype(np.float32)
        self._n_padded = (n_frames - 1) * self._hop + self._n_fft
        ones = np.broadcast_to(self._window**2, (n_frames, self._n_fft))
        self._weight: Float32 = np.maximum(self._overlap_add(ones), np.float32(1e-3))

    def forward(self, samples: Float32) -> Complex64:
        padded = np.pad(samples, self._n_fft // 2)
        view = np.lib.stride_tricks.sliding_window_view(padded, self._n_fft)[:: self._hop]
        spectrum: Complex64 = scipy.fft.rfft(view * self._window, axis=1)
        return spectrum

    def inverse(self, spectrum: Complex64) -> Float32:
        frames: Float32 = scipy.fft.irfft(spectrum, n=self._n_fft, axis=1) * self._window
        half = self._n_fft // 2
        samples: Float32 = self._overlap_add(frames) / self._weight
        return samples[half : self._n_padded - half]

    def _overlap_add(self, frames: Float32) -> Float32:
        total = np.zeros(self._n_padded, np.float32)
        # Frames n_overlap apart do not touch: each pass adds one such set at once.
        n_overlap = -(-self._n_fft // self._hop)
        step = n_overlap * self._hop
        for first in range(min(n_overlap, self._n_frames)):
            chosen = frames[first::n_overlap]
            start = first * self._hop
            if step == self._n_fft:
                total[start : start + len(chosen) * step] += chosen.reshape(-1)
            else:
                for index, frame in enumerate(chosen):
                    at = start + index * step
                    total[at : at + self._n_fft] += frame
        return total

"""The short-time Fourier transform, a block of frames at a time.

The transform is SciPy's pocketfft (docs/decisions/0013-fft.md). `scipy.fftpack` can transform real
frames in place, which `scipy.fft` cannot, so that a block stays in the L2 cache. Its layout of the
spectrum of one frame, with n = n_fft / 2, is:

  index   0     1     2     3     4    ...  2n - 3   2n - 2   2n - 1
  value  Re 0  Re 1  Im 1  Re 2  Im 2  ...  Re n-1   Im n-1   Re n
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.fftpack

from audio.compiled import compiled
from audio.config import AudioConfig

Floating = npt.NDArray[np.floating]

# 64 frames of 2,048 float32 samples fill half of an L2 cache of 1 MiB (decision 13).
BLOCK_FRAMES = 64


def hann_window(config: AudioConfig) -> npt.NDArray[np.float64]:
    """Returns the periodic Hann window, float64 [n_fft]."""
    phase = 2 * np.pi * np.arange(config.n_fft) / config.n_fft
    return np.asarray(0.5 - 0.5 * np.cos(phase), np.float64)


def to_spectra(frames: Floating) -> Floating:
    """Returns the spectra of frames [n_rows, n_fft] in the layout above; overwrites the frames."""
    spectra: Floating = scipy.fftpack.rfft(frames, axis=1, overwrite_x=True)
    return spectra


def to_frames(spectra: Floating) -> Floating:
    """Returns the frames [n_rows, n_fft] of spectra in the layout above; overwrites the spectra."""
    frames: Floating = scipy.fftpack.irfft(spectra, axis=1, overwrite_x=True)
    return frames


@compiled(nogil=True)
def cut_frames(signal: Floating, window: Floating, hop: int, count: int, frames: Floating) -> None:
    """Writes windowed frames of a signal.

    Args:
      signal: Samples [at least (count - 1) * hop + n_fft].
      window: Factors of a frame's samples [n_fft].
      hop: Number of samples from one frame to the next.
      count: Number of frames to write.
      frames: Output [n_rows, n_fft]; rows from `count` on become zero.
    """
    for row in range(count):
        piece, frame = signal[row * hop : row * hop + len(window)], frames[row]
        for k in range(len(window)):
            frame[k] = piece[k] * window[k]
    frames[count:] = 0


@compiled(nogil=True)
def power_spectra(spectra: Floating, power: Floating) -> None:
    """Writes squared magnitudes of spectra [n_rows, n_fft] to power [n_rows, n_fft // 2 + 1]."""
    last = power.shape[1] - 1
    for row in range(len(spectra)):
        spectrum, squares = spectra[row], power[row]
        squares[0] = spectrum[0] * spectrum[0]
        for k in range(1, last):
            re, im = spectrum[2 * k - 1], spectrum[2 * k]
            squares[k] = re * re + im * im
        squares[last] = spectrum[2 * last - 1] * spectrum[2 * last - 1]

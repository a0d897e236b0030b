"""The short-time Fourier transform, a block of frames at a time.

The transform itself is SciPy's pocketfft (docs/decisions/0013-fft.md says why). The loops around it
are compiled, because each pass that NumPy would make over a block costs a third of a transform.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from audio.config import AudioConfig

Floating = npt.NDArray[np.floating]

# Frames per block. 64 frames of 2,048 samples fill half of a 1 MiB L2 cache (decision 13).
BLOCK_FRAMES = 64


def hann_window(config: AudioConfig) -> npt.NDArray[np.float64]:
    """Returns the periodic Hann window, float64 [n_fft]."""
    phase = 2 * np.pi * np.arange(config.n_fft) / config.n_fft
    return np.asarray(0.5 - 0.5 * np.cos(phase), np.float64)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def cut_frames(signal: Floating, window: Floating, hop: int, count: int, frames: Floating) -> None:
    """Writes windowed frames of a signal.

    Args:
      signal: samples [at least (count - 1) * hop + n_fft].
      window: factors [n_fft].
      hop: samples from one frame to the next.
      count: number of frames to write.
      frames: output [n_rows, n_fft]; rows from `count` on become zero.
    """
    for row in range(count):
        piece, frame = signal[row * hop : row * hop + len(window)], frames[row]
        for k in range(len(window)):
            frame[k] = piece[k] * window[k]
    frames[count:] = 0


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def power_spectra(spectra: npt.NDArray[np.complexfloating], power: Floating) -> None:
    """Writes squared magnitudes.

    Args:
      spectra: complex [n_rows, n_bins].
      power: output, real, of the same shape.
    """
    for row in range(len(spectra)):
        spectrum, squares = spectra[row], power[row]
        for k in range(len(spectrum)):
            value = spectrum[k]
            squares[k] = value.real * value.real + value.imag * value.imag

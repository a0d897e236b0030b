from typing import Any

import numpy as np
import pytest
from librosa.filters import get_window

from audio.config import AudioConfig
from audio.stft import cut_frames, hann_window, power_spectra, to_frames, to_spectra


def test_window_is_periodic_hann() -> None:
    config = AudioConfig()
    expected = get_window("hann", config.n_fft, fftbins=True)
    np.testing.assert_allclose(hann_window(config), expected, atol=1e-12)


@pytest.mark.parametrize("n_fft", [16, 18, 20, 100, 512, 1102, 2048])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-6), (np.float64, 1e-14)])
def test_power_is_that_of_a_real_transform(n_fft: int, dtype: Any, tolerance: float) -> None:
    frames = np.random.default_rng(0).standard_normal((3, n_fft)).astype(dtype)
    expected = np.abs(np.fft.rfft(frames.astype(np.float64))) ** 2
    power = np.empty((3, n_fft // 2 + 1), dtype)
    spectra = to_spectra(frames.copy())
    power_spectra(spectra, power)
    np.testing.assert_allclose(power, expected, atol=tolerance * expected.max())
    np.testing.assert_allclose(to_frames(spectra), frames, atol=10 * tolerance)


def test_cut_frames_windows_each_frame_and_clears_the_rows_below() -> None:
    frames = np.full((4, 3), np.nan, np.float32)
    window = np.array([1, 10, 100], np.float32)
    cut_frames(np.arange(6, dtype=np.float32), window, 2, 2, frames)
    np.testing.assert_array_equal(frames, [[0, 10, 200], [2, 30, 400], [0, 0, 0], [0, 0, 0]])

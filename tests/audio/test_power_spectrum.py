import numpy as np
import pytest

from audio.power_spectrum import PowerSpectra


@pytest.mark.parametrize("n_fft", [16, 18, 20, 100, 512, 1102, 2048])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-6), (np.float64, 1e-14)])
def test_power_is_that_of_a_real_transform(n_fft: int, dtype: type, tolerance: float) -> None:
    spectra = PowerSpectra(n_rows=3, n_fft=n_fft, dtype=dtype)
    frames = np.random.default_rng(0).standard_normal((3, n_fft)).astype(dtype)
    spectra.frames[:] = frames
    expected = np.abs(np.fft.rfft(frames.astype(np.float64))) ** 2
    found = spectra()
    assert found.shape == (3, n_fft // 2 + 1)
    np.testing.assert_allclose(found, expected, atol=tolerance * expected.max())

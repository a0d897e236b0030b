import numpy as np
import pytest

from audio.channels import mix_down


@pytest.mark.parametrize("n_channels", [1, 2, 3, 6])
@pytest.mark.parametrize("chosen", [None, 0])
def test_mix_energies_and_range_are_numpys(n_channels: int, chosen: int | None) -> None:
    noise = np.random.default_rng(n_channels).normal(0, 0.2, (1000, n_channels))
    block = noise.astype(np.float32)
    mixdown = mix_down(block, chosen)
    expected = block.mean(axis=1) if chosen is None else block[:, chosen]
    np.testing.assert_allclose(mixdown.mono, expected, atol=1e-7)
    energies = [*(block.astype(np.float64) ** 2).sum(axis=0), (expected.astype(float) ** 2).sum()]
    np.testing.assert_allclose(mixdown.energies, energies, rtol=1e-4)
    assert (mixdown.lowest, mixdown.highest) == (block.min(), block.max())
    assert (mixdown.mono_lowest, mixdown.mono_highest) == (mixdown.mono.min(), mixdown.mono.max())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("n_channels", [1, 2, 3])
def test_what_is_not_a_sample_shows_in_the_range(value: float, n_channels: int) -> None:
    block = np.zeros((100, n_channels), np.float32)
    block[50, -1] = value
    mixdown = mix_down(block, None)
    assert not (mixdown.highest <= 1 and mixdown.lowest >= -1)

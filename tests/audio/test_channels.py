import numpy as np
import pytest

from audio.channels import look_at


@pytest.mark.parametrize("n_channels", [1, 2, 3, 6])
@pytest.mark.parametrize("chosen", [None, 0])
def test_mix_energies_and_range_are_numpys(n_channels: int, chosen: int | None) -> None:
    noise = np.random.default_rng(n_channels).normal(0, 0.2, (1000, n_channels))
    block = noise.astype(np.float32)
    look = look_at(block, chosen)
    expected = block.mean(axis=1) if chosen is None else block[:, chosen]
    np.testing.assert_allclose(look.mono, expected, atol=1e-7)
    energies = [*(block.astype(np.float64) ** 2).sum(axis=0), (expected.astype(float) ** 2).sum()]
    np.testing.assert_allclose(look.energies, energies, rtol=1e-4)
    assert (look.lowest, look.highest) == (block.min(), block.max())
    assert (look.mono_lowest, look.mono_highest) == (look.mono.min(), look.mono.max())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("n_channels", [1, 2, 3])
def test_what_is_not_a_sample_shows_in_the_range(value: float, n_channels: int) -> None:
    block = np.zeros((100, n_channels), np.float32)
    block[50, -1] = value
    look = look_at(block, None)
    assert not (look.highest <= 1 and look.lowest >= -1)

"""Principal components of frames whose covariance and correlation are known."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.support.small_models import N_MELS, wandering_frames
from trainer.model.principal_components import PrincipalComponents


@pytest.fixture(scope="module")
def components() -> PrincipalComponents:
    layer = PrincipalComponents(N_MELS, N_MELS)
    layer.adapt(wandering_frames())
    return layer


def two_bands(n_dims: int = 2) -> PrincipalComponents:
    """Adapted to frames around (1, 2): the first band deviates by 3, the second by 2."""
    layer = PrincipalComponents(2, n_dims)
    layer.adapt(np.array([[[4.0, 2.0], [-2.0, 2.0]], [[1.0, 4.0], [1.0, 0.0]]]))
    return layer


def test_adapt_two_bands() -> None:
    layer = two_bands()
    # np.cov divides by 4 - 1 frames: the variances are 18 / 3 and 8 / 3.
    np.testing.assert_allclose(layer.centre, [1, 2])
    expected = np.diag([6**-0.5, (8 / 3) ** -0.5])
    np.testing.assert_allclose(layer.basis, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(layer(tf.constant([[4.0, 0.0]])), [[1.224745, -1.224745]], rtol=1e-5)


def test_adapt_measures_persistence_and_innovations(components) -> None:
    """Frames are an autoregression with a coefficient of 0.9."""
    np.testing.assert_allclose(components.persistence, 0.9, atol=0.04)
    np.testing.assert_allclose(components.innovation_scale, np.sqrt(1 - 0.81), atol=0.05)


def test_adapt_leaves_bands_that_never_change_at_zero() -> None:
    frames = wandering_frames()
    frames[..., 6:] = -1.5
    layer = PrincipalComponents(N_MELS, N_MELS)
    layer.adapt(frames)
    z = layer(tf.constant(frames)).numpy()
    assert (z.std(axis=(0, 1)) > 0.5).tolist() == [True] * 6 + [False] * 6
    np.testing.assert_allclose(layer.invert(z)[..., 6:], -1.5, atol=1e-4)


def test_call_gives_uncorrelated_components_of_unit_variance(components) -> None:
    z = components(tf.constant(wandering_frames(seed=5))).numpy()
    covariance = np.cov(z.reshape(-1, N_MELS), rowvar=False)
    np.testing.assert_allclose(covariance, np.eye(N_MELS), atol=0.35)


def test_invert_returns_the_frames(components) -> None:
    frames = wandering_frames(batch=3, n_frames=7, seed=5)
    z = components(tf.constant(frames))
    assert z.shape == (3, 7, N_MELS)
    np.testing.assert_allclose(components.invert(z), frames, atol=1e-3)


def test_invert_fewer_components_than_bands_keeps_the_mean_of_the_others() -> None:
    layer = two_bands(n_dims=1)
    z = layer(tf.constant([[4.0, 0.0]]))
    assert z.shape == (1, 1)
    np.testing.assert_allclose(layer.invert(z), [[4, 2]], atol=1e-5)


def test_unwhiten_difference_is_the_difference_of_inverted_frames(components) -> None:
    z = tf.constant(np.random.default_rng(0).normal(size=(2, 5, N_MELS)), tf.float32)
    difference = components.invert(z[1]) - components.invert(z[0])
    np.testing.assert_allclose(components.unwhiten_difference(z[1] - z[0]), difference, atol=1e-3)


def test_more_components_than_bands_are_as_many_as_bands() -> None:
    assert PrincipalComponents(3, 64).n_dims == 3

"""The target style drifts away from its anchor: as far as training music does, and no louder."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from trainer.style.drift import StyleDrift
from trainer.style.statistics import Style

N_MELS, ANCHOR, PASSAGE = 24, 64, 256
# Deviations of the coefficients of the mean, of the logarithm of rises and of that of deviations.
SPREAD = np.array([[0.3, 0.2, 0.1, 0.05], [0.2, 0.1, 0.1, 0.05], [0.2, 0.1, 0.1, 0.05]])
# Factor by which passages deviate more than their anchor; white noise also rises more by it.
WIDER = 1.3
CURVES = StyleDrift(N_MELS).curves.numpy()


def music(rng: np.random.Generator) -> np.ndarray:
    """Two equal anchors of noise around three passages that differ from them."""
    begin, end = rng.normal(0, 1, (2, ANCHOR, N_MELS))
    passages = []
    for _ in range(3):
        mean, _, deviation = SPREAD * rng.normal(0, 1, (3, 4)) @ CURVES
        noise = WIDER * np.exp(deviation) * rng.normal(0, 1, (PASSAGE, N_MELS))
        passages.append(mean + noise)
    return np.concatenate([begin, *passages, end]).astype(np.float32)


def random_drift(seed: int = 0) -> StyleDrift:
    rng = np.random.default_rng(seed)
    drift = StyleDrift(N_MELS)
    drift.median_shift.assign([0.1, 0.2])
    drift.initial_spread.assign(SPREAD)
    drift.final_spread.assign(2 * SPREAD * rng.uniform(0.9, 1.1, SPREAD.shape))
    return drift


def random_walks(
    drift: StyleDrift, seeds: list[int], n_steps: int, step_frames: int = 48
) -> np.ndarray:
    return drift.random_walks(
        tf.constant(seeds, tf.int64), n_steps=tf.constant(n_steps), step_frames=step_frames
    ).numpy()


def test_adapt_measures_how_far_music_drifts() -> None:
    rng = np.random.default_rng(0)
    drift = StyleDrift(N_MELS)
    drift.adapt([music(rng) for _ in range(300)], anchor_frames=ANCHOR)
    for spread in (drift.initial_spread, drift.final_spread):
        assert spread.numpy() == pytest.approx(SPREAD[[0, 2, 2]], rel=0.3)
    assert drift.median_shift.numpy() == pytest.approx([np.log(WIDER)] * 2, abs=0.04)


def test_adapt_also_measures_chunks_backwards() -> None:
    rng = np.random.default_rng(4)
    chunk = rng.normal(0, 1, (ANCHOR + PASSAGE, N_MELS)).astype(np.float32)
    chunk[-ANCHOR:] *= 0.1
    drift = StyleDrift(N_MELS)
    drift.adapt([chunk], anchor_frames=ANCHOR)
    # Only its end is a quiet anchor, from which the rest differs.
    assert float(drift.final_spread[2, 0]) > 0.5


def test_adapt_measures_more_drift_at_the_end_of_a_random_walk() -> None:
    rng = np.random.default_rng(1)
    drift = StyleDrift(N_MELS)
    steps = 0.02 * rng.normal(0, 1, (300, ANCHOR + 3 * PASSAGE, 4))
    chunks = np.cumsum(steps, axis=1) @ CURVES + rng.normal(0, 0.1, (300, 1, N_MELS))
    drift.adapt(list(chunks.astype(np.float32)), anchor_frames=ANCHOR)
    # From the middle of an anchor to that of a passage: 160 and 672 frames of a random walk.
    assert (drift.final_spread[0] / drift.initial_spread[0]).numpy() == pytest.approx(
        np.sqrt(672 / 160), rel=0.25
    )


def test_adapt_is_robust_to_a_few_fades() -> None:
    rng = np.random.default_rng(2)
    steady = [music(rng) for _ in range(100)]
    fading = [music(rng) - 30 * np.linspace(0, 1, len(steady[0]))[:, None] for _ in range(5)]
    with_them, without = StyleDrift(N_MELS), StyleDrift(N_MELS)
    with_them.adapt([*steady, *fading], anchor_frames=ANCHOR)
    without.adapt(steady, anchor_frames=ANCHOR)
    assert with_them.final_spread.numpy() == pytest.approx(without.final_spread.numpy(), rel=0.3)


def test_adapt_ignores_chunks_too_short_for_a_passage() -> None:
    drift = StyleDrift(N_MELS)
    drift.adapt([np.ones((ANCHOR + PASSAGE - 1, N_MELS), np.float32)], anchor_frames=ANCHOR)
    for weight in drift.weights:
        np.testing.assert_array_equal(weight, tf.zeros_like(weight))
    np.testing.assert_array_equal(random_walks(drift, [1, 2], 5), np.zeros((5, 2, 3, 4)))


def test_random_walks_spread_and_memory() -> None:
    drift = random_drift()
    walks = random_walks(drift, list(range(2000)), 60)
    assert walks.shape == (60, 2000, 3, 4)
    assert walks[0].std(axis=0) == pytest.approx(drift.initial_spread.numpy(), rel=0.1)
    assert walks[-1].std(axis=0) == pytest.approx(drift.final_spread.numpy(), rel=0.1)
    tilt, distances = walks[:, :, 0, 1], (1, 8, 40)
    correlations = [np.corrcoef(tilt[-1], tilt[-1 - n])[0, 1] for n in distances]
    assert correlations == pytest.approx([np.exp(-48 * n / 500) for n in distances], abs=0.07)


def test_random_walks_of_one_step() -> None:
    """With a batch of any size, as the exported rollout has."""
    drift = random_drift()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64), tf.TensorSpec([], tf.int32)])
    def walk(seeds: tf.Tensor, n_steps: tf.Tensor) -> tf.Tensor:
        return drift.random_walks(seeds, n_steps=n_steps, step_frames=48)

    seeds = tf.constant([5, 6], tf.int64)
    one_step, nine_steps = walk(seeds, tf.constant(1)), walk(seeds, tf.constant(9))
    assert one_step.shape == (1, 2, 3, 4)
    np.testing.assert_array_equal(one_step, nine_steps[:1])


def test_random_walks_depend_on_their_seed_alone() -> None:
    drift = random_drift()
    together = random_walks(drift, [5, 6, 7], 12)
    np.testing.assert_array_equal(random_walks(drift, [7], 12)[:, 0], together[:, 2])
    np.testing.assert_array_equal(random_walks(drift, [5, 6, 7], 4), together[:4])
    assert np.abs(together[:, 0] - together[:, 1]).max() > 0.1


def test_target_style_drifts_in_timbre_but_not_in_loudness() -> None:
    drift, rng = random_drift(), np.random.default_rng(3)
    anchor = Style.measure(tf.constant(rng.normal(0, 1, (50, ANCHOR, N_MELS)), tf.float32))
    gradient = rng.dirichlet(np.full(N_MELS, 0.3), 50).astype(np.float32)
    walk = random_walks(drift, list(range(50)), 3)[-1]
    target = drift.target_style(anchor, tf.constant(walk), level_gradient=tf.constant(gradient))
    moved = (target.mean - anchor.mean).numpy()
    assert moved.std() > 0.2
    assert np.abs(moved.mean(axis=1)).max() < 1e-5
    assert np.abs((gradient * moved).sum(axis=1)).max() < 1e-5


def test_target_style_without_drift_is_shifted_by_the_median() -> None:
    drift = random_drift()
    anchor = Style.measure(tf.ones([2, 1, N_MELS]))._replace(
        rise=tf.fill([2, N_MELS], 0.5), variance=tf.fill([2, N_MELS], 4.0)
    )
    target = drift.target_style(anchor, tf.zeros([2, 3, 4]), level_gradient=tf.ones([2, N_MELS]))
    np.testing.assert_allclose(target.mean, anchor.mean)
    np.testing.assert_allclose(target.rise, 1.1 * np.exp(0.1) * 0.5 + 0.01, rtol=1e-5)
    np.testing.assert_allclose(target.variance, np.exp(0.4) * 4 + 0.01, rtol=1e-5)

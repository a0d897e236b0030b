"""What a rollout is held near goes from its anchor: as far as training music, slowly, no louder."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from trainer.style.drift import StyleDrift
from trainer.style.statistics import Style

N_MELS, ANCHOR, PASSAGE = 24, 64, 256
# Of the mean, the logarithm of rises and that of deviations; the coefficients are of these curves.
WIDE = np.array([[0.3, 0.2, 0.1, 0.05], [0.2, 0.1, 0.1, 0.05], [0.2, 0.1, 0.1, 0.05]])
# Of deviations, and with them of rises, where noise is white.
WIDER = 1.3
CURVES = StyleDrift(N_MELS).curves.numpy()


def music(rng: np.random.Generator) -> np.ndarray:
    """Noise that begins and ends alike, and leaves that in three passages, all of them wider."""
    begin, end = rng.normal(0, 1, (2, ANCHOR, N_MELS))
    passages = []
    for _ in range(3):
        mean, _, deviation = WIDE * rng.normal(0, 1, (3, 4)) @ CURVES
        noise = WIDER * np.exp(deviation) * rng.normal(0, 1, (PASSAGE, N_MELS))
        passages.append(mean + noise)
    return np.concatenate([begin, *passages, end]).astype(np.float32)


def varied(seed: int = 0) -> StyleDrift:
    rng = np.random.default_rng(seed)
    made = StyleDrift(N_MELS)
    made.median_shift.assign([0.1, 0.2])
    made.initial_spread.assign(WIDE)
    made.final_spread.assign(2 * WIDE * rng.uniform(0.9, 1.1, WIDE.shape))
    return made


def random_walks(
    made: StyleDrift, seeds: list[int], n_steps: int, step_frames: int = 48
) -> np.ndarray:
    return made.random_walks(
        tf.constant(seeds, tf.int64), n_steps=tf.constant(n_steps), step_frames=step_frames
    ).numpy()


def test_what_is_measured_is_how_far_training_music_goes() -> None:
    rng = np.random.default_rng(0)
    made = StyleDrift(N_MELS)
    made.prepare([music(rng) for _ in range(300)], anchor_frames=ANCHOR)
    for found in (made.initial_spread, made.final_spread):
        assert found[0].numpy() == pytest.approx(WIDE[0], rel=0.3)
        assert found[1].numpy() == pytest.approx(WIDE[2], rel=0.3)
        assert found[2].numpy() == pytest.approx(WIDE[2], rel=0.3)
    assert made.median_shift.numpy() == pytest.approx([np.log(WIDER)] * 2, abs=0.04)


def test_music_is_heard_backwards_too() -> None:
    rng = np.random.default_rng(4)
    stretch = rng.normal(0, 1, (ANCHOR + PASSAGE, N_MELS)).astype(np.float32)
    stretch[-ANCHOR:] *= 0.1
    made = StyleDrift(N_MELS)
    made.prepare([stretch], anchor_frames=ANCHOR)
    # Its end alone is a quiet anchor: forwards nothing departs from the first.
    assert float(made.final_spread[2, 0]) > 0.5


def test_music_that_goes_on_leaving_is_left_further_at_the_end() -> None:
    rng = np.random.default_rng(1)
    made = StyleDrift(N_MELS)
    steps = 0.02 * rng.normal(0, 1, (300, ANCHOR + 3 * PASSAGE, 4))
    stretches = np.cumsum(steps, axis=1) @ CURVES + rng.normal(0, 0.1, (300, 1, N_MELS))
    made.prepare(list(stretches.astype(np.float32)), anchor_frames=ANCHOR)
    # From the middle of an anchor to that of a passage: 160 and 672 frames of a random walk.
    assert (made.final_spread[0] / made.initial_spread[0]).numpy() == pytest.approx(
        np.sqrt(672 / 160), rel=0.25
    )


def test_a_few_recordings_that_fall_silent_do_not_set_how_far_music_goes() -> None:
    rng = np.random.default_rng(2)
    steady = [music(rng) for _ in range(100)]
    fading = [music(rng) - 30 * np.linspace(0, 1, len(steady[0]))[:, None] for _ in range(5)]
    with_them, without = StyleDrift(N_MELS), StyleDrift(N_MELS)
    with_them.prepare([*steady, *fading], anchor_frames=ANCHOR)
    without.prepare(steady, anchor_frames=ANCHOR)
    assert with_them.final_spread.numpy() == pytest.approx(without.final_spread.numpy(), rel=0.3)


def test_stretches_too_short_for_a_passage_say_nothing() -> None:
    made = StyleDrift(N_MELS)
    made.prepare([np.ones((ANCHOR + PASSAGE - 1, N_MELS), np.float32)], anchor_frames=ANCHOR)
    for weight in made.weights:
        np.testing.assert_array_equal(weight, tf.zeros_like(weight))
    np.testing.assert_array_equal(random_walks(made, [1, 2], 5), np.zeros((5, 2, 3, 4)))


def test_a_walk_begins_near_and_becomes_far_and_forgets() -> None:
    made = varied()
    found = random_walks(made, list(range(2000)), 60)
    assert found.shape == (60, 2000, 3, 4)
    assert found[0].std(axis=0) == pytest.approx(made.initial_spread.numpy(), rel=0.1)
    assert found[-1].std(axis=0) == pytest.approx(made.final_spread.numpy(), rel=0.1)
    apart = [np.corrcoef(found[-1, :, 0, 1], found[-1 - n, :, 0, 1])[0, 1] for n in (1, 8, 40)]
    assert apart == pytest.approx([np.exp(-48 * n / 500) for n in (1, 8, 40)], abs=0.07)


def test_a_rollout_of_one_step_has_a_walk_of_one() -> None:
    """With a batch of any size, as the exported rollout has."""
    made = varied()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64), tf.TensorSpec([], tf.int32)])
    def walk(seeds: tf.Tensor, n_steps: tf.Tensor) -> tf.Tensor:
        return made.random_walks(seeds, n_steps=n_steps, step_frames=48)

    seeds = tf.constant([5, 6], tf.int64)
    one, many = walk(seeds, tf.constant(1)), walk(seeds, tf.constant(9))
    assert one.shape == (1, 2, 3, 4)
    np.testing.assert_array_equal(one, many[:1])


def test_a_walk_follows_from_its_seed_alone_and_a_longer_one_begins_as_a_shorter() -> None:
    made = varied()
    together = random_walks(made, [5, 6, 7], 12)
    np.testing.assert_array_equal(random_walks(made, [7], 12)[:, 0], together[:, 2])
    np.testing.assert_array_equal(random_walks(made, [5, 6, 7], 4), together[:4])
    assert np.abs(together[:, 0] - together[:, 1]).max() > 0.1


def test_timbre_walks_and_loudness_does_not() -> None:
    made, rng = varied(), np.random.default_rng(3)
    anchor = Style.of(tf.constant(rng.normal(0, 1, (50, ANCHOR, N_MELS)), tf.float32))
    gradient = rng.dirichlet(np.full(N_MELS, 0.3), 50).astype(np.float32)
    away = random_walks(made, list(range(50)), 3)[-1]
    wanted = made.wanted(anchor, tf.constant(away), level_gradient=tf.constant(gradient))
    moved = (wanted.mean - anchor.mean).numpy()
    assert moved.std() > 0.2
    assert np.abs(moved.mean(axis=1)).max() < 1e-5
    assert np.abs((gradient * moved).sum(axis=1)).max() < 1e-5


def test_what_is_wanted_is_as_lively_and_wide_as_music_usually_is() -> None:
    made = varied()
    anchor = Style.of(tf.ones([2, 1, N_MELS]))._replace(
        rise=tf.fill([2, N_MELS], 0.5), variance=tf.fill([2, N_MELS], 4.0)
    )
    wanted = made.wanted(anchor, tf.zeros([2, 3, 4]), level_gradient=tf.ones([2, N_MELS]))
    np.testing.assert_allclose(wanted.mean, anchor.mean)
    np.testing.assert_allclose(wanted.rise, 1.1 * np.exp(0.1) * 0.5 + 0.01, rtol=1e-5)
    np.testing.assert_allclose(wanted.variance, np.exp(0.4) * 4 + 0.01, rtol=1e-5)

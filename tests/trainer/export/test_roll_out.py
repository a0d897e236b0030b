"""A rollout is held near what is wanted of it, and follows from its seed alone."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.support.small_models import N_MELS, model, walk
from trainer.data.normaliser import Normaliser
from trainer.export.roll_out import roll_out
from trainer.model.head import Sampling
from trainer.style.control import Hold

# Each compiles rollouts.
pytestmark = pytest.mark.slow

PLAIN = Normaliser(
    mean=tf.zeros([N_MELS]), std=tf.ones([N_MELS]), highest=tf.fill([N_MELS], 99.0), floor=-99.0
)


def rising(steps: list[float], hold: Hold) -> np.ndarray:
    """The last frame of a long rollout of a model whose every frame adds steps to the last."""
    made = model("mse")
    made.head.linear.kernel.assign(tf.zeros_like(made.head.linear.kernel))
    made.head.linear.bias.assign(steps)
    made.head.hold = hold
    frames = roll_out(
        made,
        PLAIN,
        tf.zeros([1, 8, N_MELS]),
        n_frames=tf.constant(400),
        sampling=Sampling.at(0.0),
        seeds=tf.zeros([1], tf.int64),
    )
    return frames[0, -1].numpy()


def test_a_rollout_is_pulled_back_to_the_level_of_its_primer() -> None:
    """A model that always wants to go up: what holds it is a pull."""
    up = [0.1] * N_MELS
    assert rising(up, Hold())[0] == pytest.approx(40, rel=1e-4)
    assert 0 < rising(up, Hold(mean=0.1))[0] < 10
    assert 0 < rising(up, Hold(level=0.1))[0] < 10
    assert 0 < rising(up, Hold(loudness=0.1))[0] < 10


def test_a_pull_of_the_level_leaves_the_spectrum_alone() -> None:
    tilting = [0.1, -0.1] * (N_MELS // 2)
    frame = rising(tilting, Hold(level=0.1))
    assert frame[0] == pytest.approx(40, rel=1e-4)
    assert frame[1] == pytest.approx(-40, rel=1e-4)


def test_a_rollout_is_held_near_how_much_its_primer_moves() -> None:
    """One onset class holds any onset: nothing but the hold makes the rollout as calm."""
    made = model("mixture", {"onset_classes": 1})
    primer = tf.constant(3 + 0.3 * (walk(4, 64) - 3))

    def rises(hold: Hold) -> float:
        made.head.hold = hold
        frames = roll_out(
            made,
            PLAIN,
            primer,
            n_frames=tf.constant(400),
            sampling=Sampling.at(1.0),
            seeds=tf.range(4, dtype=tf.int64),
        )
        return float(np.maximum(np.diff(frames, axis=1), 0).mean())

    usual = float(np.maximum(np.diff(primer, axis=1), 0).mean())
    free, held = rises(Hold()), rises(Hold(rise=1.5))
    assert abs(held - 1.1 * usual) < 0.6 * abs(free - 1.1 * usual)


def test_what_a_rollout_is_held_near_walks_with_its_seed() -> None:
    made = model("mixture", {"onset_classes": 1})
    # A tilt that adds to the level of one band is taken back by that of others.
    made.style_drift.initial_spread.assign([[0, 1, 1, 1], [0] * 4, [0] * 4])
    made.style_drift.final_spread.assign([[0, 1, 1, 1], [0] * 4, [0] * 4])
    seeds = tf.range(6, dtype=tf.int64)

    def stretches(variety: float) -> np.ndarray:
        made.head.hold = Hold(mean=0.5, variety=variety)
        frames = roll_out(
            made,
            PLAIN,
            tf.constant(walk(6, 64)),
            n_frames=tf.constant(480),
            sampling=Sampling.at(1.0),
            seeds=seeds,
        )
        return frames.numpy().reshape(6, 10, 48, N_MELS).mean(axis=2)

    tilt = made.style_drift.curves[1].numpy()
    moved = ((stretches(2.0) - stretches(0.0)) * tilt).mean(axis=-1)
    walked = made.style_drift.random_walks(seeds, n_steps=tf.constant(10), step_frames=48)[
        :, :, 0, 1
    ]
    walked = np.transpose(walked)
    assert np.corrcoef(moved.mean(axis=1), walked.mean(axis=1))[0, 1] > 0.8
    # And within a clip, not from one to the other alone.
    moved, walked = (each - each.mean(axis=1, keepdims=True) for each in (moved, walked))
    assert np.corrcoef(moved.ravel(), walked.ravel())[0, 1] > 0.6


def test_a_rollout_that_is_held_follows_from_its_seed_whatever_its_neighbours() -> None:
    made = model("mixture")
    for weight, width in (
        (made.style_drift.initial_spread, 0.2),
        (made.style_drift.final_spread, 0.4),
    ):
        weight.assign(tf.fill([3, 4], width))
    assert not made.head.hold.loose

    def frames(primer: np.ndarray, seeds: list[int]) -> np.ndarray:
        return roll_out(
            made,
            PLAIN,
            tf.constant(primer),
            n_frames=tf.constant(100),
            sampling=Sampling.at(1.0),
            seeds=tf.constant(seeds, tf.int64),
        ).numpy()

    primers, seeds = walk(8, 64), [3, 4, 5, 6, 7, 8, 9, 10]
    together = frames(primers, seeds)
    others = np.concatenate([primers[:1], primers[:0:-1]])
    np.testing.assert_array_equal(frames(others, [3, *seeds[:0:-1]])[0], together[0])
    assert np.abs(frames(primers, [0, *seeds[1:]])[0] - together[0]).max() > 0.1

"""A rollout is held near its target style, and depends on its seed alone."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.support.small_models import N_MELS, small_model, wandering_frames
from trainer.data.normaliser import Normaliser
from trainer.export.roll_out import roll_out
from trainer.model.head import Sampling
from trainer.model.next_frame import NextFrameModel
from trainer.style.control import Hold

# Each test compiles rollouts.
pytestmark = pytest.mark.slow

IDENTITY = Normaliser(
    mean=tf.zeros([N_MELS]), std=tf.ones([N_MELS]), highest=tf.fill([N_MELS], 99.0), floor=-99.0
)


def run(
    model: NextFrameModel,
    primer: np.ndarray | tf.Tensor,
    n_frames: int,
    *,
    seeds: list[int],
    temperature: float = 1.0,
) -> np.ndarray:
    return roll_out(
        model,
        IDENTITY,
        tf.constant(primer),
        n_frames=tf.constant(n_frames),
        sampling=Sampling.at(temperature),
        seeds=tf.constant(seeds, tf.int64),
    ).numpy()


def last_frame(changes: list[float], hold: Hold) -> np.ndarray:
    """The last of 400 frames of a model that adds the same changes to every frame."""
    model = small_model("mse")
    model.head.linear.kernel.assign(tf.zeros_like(model.head.linear.kernel))
    model.head.linear.bias.assign(changes)
    model.head.hold = hold
    return run(model, np.zeros((1, 8, N_MELS), np.float32), 400, seeds=[0], temperature=0.0)[0, -1]


def test_roll_out_is_pulled_back_to_the_level_of_its_primer() -> None:
    """Without a hold, this model rises for ever."""
    rising = [0.1] * N_MELS
    assert last_frame(rising, Hold())[0] == pytest.approx(40, rel=1e-4)
    # All bands rise alike, so each of these pulls them back alike.
    for hold in (Hold(mean=0.1), Hold(level=0.1), Hold(loudness=0.1)):
        assert 0 < last_frame(rising, hold)[0] < 10


def test_roll_out_level_hold_leaves_the_spectrum_alone() -> None:
    tilting = [0.1, -0.1] * (N_MELS // 2)
    frame = last_frame(tilting, Hold(level=0.1))
    assert frame[0] == pytest.approx(40, rel=1e-4)
    assert frame[1] == pytest.approx(-40, rel=1e-4)


def test_roll_out_rise_hold_brings_movement_nearer_to_the_primers() -> None:
    """A single onset class contains every onset: only the hold makes the rollout as calm."""
    model = small_model("mixture", {"onset_classes": 1})
    primer = 3 + 0.3 * (wandering_frames(4, 64) - 3)

    def mean_rise(frames: np.ndarray) -> float:
        return float(np.maximum(np.diff(frames, axis=1), 0).mean())

    rises = []
    for hold in (Hold(), Hold(rise=1.5)):
        model.head.hold = hold
        rises.append(mean_rise(run(model, primer, 400, seeds=[0, 1, 2, 3])))
    target = 1.1 * mean_rise(primer)
    assert abs(rises[1] - target) < 0.6 * abs(rises[0] - target)


def test_roll_out_target_style_walks_with_the_seed() -> None:
    model = small_model("mixture", {"onset_classes": 1})
    # Tilt and finer shapes of the mean walk; nothing else does.
    for weight in (model.style_drift.initial_spread, model.style_drift.final_spread):
        weight.assign([[0, 1, 1, 1], [0] * 4, [0] * 4])
    seeds = list(range(6))

    def block_means(variety: float) -> np.ndarray:
        model.head.hold = Hold(mean=0.5, variety=variety)
        frames = run(model, wandering_frames(6, 64), 480, seeds=seeds)
        return frames.reshape(6, 10, 48, N_MELS).mean(axis=2)

    tilt = model.style_drift.curves[1].numpy()
    moved = ((block_means(2.0) - block_means(0.0)) * tilt).mean(axis=-1)
    walks = model.style_drift.random_walks(
        tf.constant(seeds, tf.int64), n_steps=tf.constant(10), step_frames=48
    )
    walked = np.transpose(walks[:, :, 0, 1])
    assert np.corrcoef(moved.mean(axis=1), walked.mean(axis=1))[0, 1] > 0.8
    # Also within a clip, and not only from one clip to another.
    moved, walked = (tilts - tilts.mean(axis=1, keepdims=True) for tilts in (moved, walked))
    assert np.corrcoef(moved.ravel(), walked.ravel())[0, 1] > 0.6


def test_roll_out_depends_on_its_seed_and_not_on_the_batch() -> None:
    model = small_model("mixture")
    model.style_drift.initial_spread.assign(tf.fill([3, 4], 0.2))
    model.style_drift.final_spread.assign(tf.fill([3, 4], 0.4))
    assert not model.head.hold.is_off
    primers, seeds = wandering_frames(8, 64), [3, 4, 5, 6, 7, 8, 9, 10]
    first = run(model, primers, 100, seeds=seeds)[0]
    reordered = run(
        model, np.concatenate([primers[:1], primers[:0:-1]]), 100, seeds=[3, *seeds[:0:-1]]
    )[0]
    np.testing.assert_array_equal(reordered, first)
    other_seed = run(model, primers, 100, seeds=[0, *seeds[1:]])[0]
    assert np.abs(other_seed - first).max() > 0.1

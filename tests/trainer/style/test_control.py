"""Rollouts are kept near what is wanted: as loud as the anchor, whatever deviations bands have."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from trainer.data.normaliser import Normaliser
from trainer.style.control import Hold, StyleControl
from trainer.style.drift import StyleDrift

N_MELS = 6
UNEQUAL = Normaliser(
    mean=tf.constant([-1.0, 0, 1, 2, 0, -2]),
    std=tf.constant([0.5, 1, 2, 1.5, 0.3, 3]),
    highest=tf.fill([N_MELS], 99.0),
    floor=-99.0,
)
STILL = tf.zeros([1, 3, 4])


def frames(batch: int, n_frames: int = 64, seed: int = 0) -> tf.Tensor:
    shape = (batch, n_frames, N_MELS)
    return tf.constant(np.random.default_rng(seed).normal(0, 1, shape), tf.float32)


def control(hold: Hold, anchor: tf.Tensor) -> StyleControl:
    return StyleControl(hold, StyleDrift(N_MELS), UNEQUAL, anchor)


def test_a_rollout_that_is_louder_than_its_anchor_loses_as_many_nats_in_every_band() -> None:
    anchor = frames(2)
    made = control(Hold(loudness=0.1), anchor)
    wanted = made.wanted(tf.repeat(STILL, 2, axis=0))
    louder = anchor + 0.5 / UNEQUAL.std  # half a neper more power
    recent = made.begin(louder, wanted)
    frame = louder[:, -1]
    lost = UNEQUAL.invert(frame) - UNEQUAL.invert(made.frame(frame, wanted, recent))
    np.testing.assert_allclose(lost, np.full((2, N_MELS), 0.05), rtol=1e-3)
    # The anchor itself is as loud as it should be.
    as_it_was = made.begin(anchor, wanted)
    np.testing.assert_allclose(made.frame(frame, wanted, as_it_was), frame, atol=1e-6)


def test_what_is_recent_follows_what_is_heard() -> None:
    anchor = frames(1)
    made = control(Hold(loudness=0.1), anchor)
    recent = before = made.begin(anchor, made.wanted(STILL))
    frame = anchor[:, -1]
    for _ in range(400):
        recent = made.after(recent, frame, frame)
    np.testing.assert_allclose(recent.level, UNEQUAL.level(frame), atol=0.02)
    np.testing.assert_allclose(recent.style.mean, frame, atol=0.02)
    assert float(tf.reduce_max(tf.abs(recent.style.mean - before.style.mean))) > 0.1


def test_a_loose_hold_neither_moves_nor_remembers() -> None:
    anchor = frames(1)
    made = control(Hold(variety=1.0), anchor)
    wanted = made.wanted(STILL)
    recent = made.begin(anchor, wanted)
    frame = 9 + anchor[:, 0]
    assert made.change(wanted, recent) is None
    assert made.frame(frame, wanted, recent) is frame
    assert made.after(recent, frame, frame) is recent


def test_what_is_wanted_of_a_clip_does_not_hang_on_its_neighbours() -> None:
    anchors, away = frames(7), tf.random.stateless_normal([7, 3, 4], seed=[1, 2])
    hold = Hold(mean=0.1, variety=0.7)
    together, alone = control(hold, anchors), control(hold, anchors[6:])
    for many, one in zip(together.wanted(away), alone.wanted(away[6:]), strict=True):
        np.testing.assert_array_equal(many[6:], one)


def test_after_an_anchor_that_stands_still_music_may_still_begin() -> None:
    """Held near nothing, a rollout would be nothing for ever."""
    still = tf.zeros([1, 64, N_MELS])
    made = control(Hold(mean=0.025, level=0.4, loudness=0.15, rise=1.5, spread=0.08), still)
    wanted = made.wanted(STILL)
    recent, last, heard = made.begin(still, wanted), still[:, -1], []
    for proposal in frames(1, 600, seed=1)[0][:, None]:
        frame = last + made.change(wanted, recent) * (proposal - last)
        frame = made.frame(frame, wanted, recent)
        recent, last = made.after(recent, frame, last), frame
        heard.append(frame.numpy())
    assert np.isfinite(heard).all()
    assert np.std(heard[-100:]) > 0.05


def test_how_far_what_is_wanted_goes_is_scaled_by_variety() -> None:
    anchor, away = frames(1), tf.ones([1, 3, 4])
    moved = []
    for variety in (0.0, 1.0, 2.0):
        wanted = control(Hold(mean=0.1, variety=variety), anchor).wanted(away)
        moved.append(float(tf.math.log(wanted.variance - 0.01)[0, 0]))
    assert moved[2] - moved[1] == pytest.approx(moved[1] - moved[0], rel=1e-3)
    assert moved[1] - moved[0] > 0.5

"""Rollouts are held near their target style and as loud as their anchor."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from trainer.data.normaliser import Normaliser
from trainer.style.control import Hold, RecentStyle, StyleControl
from trainer.style.drift import StyleDrift
from trainer.style.statistics import Style
from trainer.tf_function import graph_function

N_MELS = 6
# Bands with unequal deviations.
NORMALISER = Normaliser(
    mean=tf.constant([-1.0, 0, 1, 2, 0, -2]),
    std=tf.constant([0.5, 1, 2, 1.5, 0.3, 3]),
    highest=tf.fill([N_MELS], 99.0),
    floor=-99.0,
)
NO_DRIFT = tf.zeros([1, 3, 4])


def frames(batch: int, n_frames: int = 64, *, deviation: float = 1.0, seed: int = 0) -> tf.Tensor:
    shape = (batch, n_frames, N_MELS)
    return tf.constant(np.random.default_rng(seed).normal(0, deviation, shape), tf.float32)


def make_control(hold: Hold, anchor: tf.Tensor) -> StyleControl:
    return StyleControl(hold, StyleDrift(N_MELS), NORMALISER, anchor)


def correct_all(
    control: StyleControl, target: Style, anchor: tf.Tensor, proposals: tf.Tensor
) -> np.ndarray:
    """Frames [n_frames, N_MELS] that are proposed one after the other, as they are corrected."""

    def step(carried: tuple[RecentStyle, tf.Tensor], proposal: tf.Tensor) -> tuple:
        recent, previous = carried
        change_scale = control.change_scale(target, recent)
        frame = previous + (1 if change_scale is None else change_scale) * (proposal - previous)
        frame = control.correct(frame, target, recent)
        return control.update(recent, frame, previous), frame

    start = (control.start(anchor, target), anchor[:, -1])
    scan = graph_function(lambda: tf.scan(step, proposals[0][:, None], start))
    return scan()[1][:, 0].numpy()


def apply_hold(hold: Hold, anchor: tf.Tensor, proposals: tf.Tensor) -> np.ndarray:
    """The proposals, held near the style of the anchor itself."""
    return correct_all(make_control(hold, anchor), Style.measure(anchor), anchor, proposals)


def mean_rise(frames: np.ndarray) -> float:
    return float(np.maximum(np.diff(frames, axis=0), 0).mean())


def test_hold_of_zero_leaves_frames_alone() -> None:
    proposals = frames(1, 50, deviation=2.0, seed=1)
    np.testing.assert_allclose(apply_hold(Hold(), frames(1), proposals), proposals[0], atol=1e-5)


@pytest.mark.parametrize("deviation", [0.6, 1.6])
def test_hold_rise_and_spread_bring_proposals_nearer_to_the_anchor(deviation: float) -> None:
    """Proposals move too little or too much, and are too narrow or too wide."""
    anchor, proposals = frames(1), frames(1, 1500, deviation=deviation, seed=1)
    free, target = proposals[0, 500:].numpy(), anchor[0].numpy()
    held = apply_hold(Hold(rise=1.0), anchor, proposals)[500:]
    distance = abs(mean_rise(free) - mean_rise(target))
    assert abs(mean_rise(held) - mean_rise(target)) < 0.5 * distance
    held = apply_hold(Hold(spread=0.5), anchor, proposals)[500:]
    assert abs(held.std() - target.std()) < 0.8 * abs(free.std() - target.std())


def test_hold_scaled_multiplies_everything_but_variety() -> None:
    hold = Hold(0.1, 0.2, 0.3, 1.0, 0.05, 0.8)
    assert hold.scaled(2.0) == Hold(0.2, 0.4, 0.6, 2.0, 0.1, 0.8)
    assert hold.scaled(0.0).is_off
    assert not Hold(loudness=0.1).is_off


def test_correct_takes_the_same_nats_off_every_band_of_a_louder_rollout() -> None:
    anchor = frames(2)
    control = make_control(Hold(loudness=0.1), anchor)
    target = control.target_style(tf.repeat(NO_DRIFT, 2, axis=0))
    louder = anchor + 0.5 / NORMALISER.std  # by half a neper of power
    frame = louder[:, -1]
    corrected = control.correct(frame, target, control.start(louder, target))
    lost = NORMALISER.invert(frame) - NORMALISER.invert(corrected)
    np.testing.assert_allclose(lost, np.full((2, N_MELS), 0.05), rtol=1e-3)
    # The anchor itself is as loud as it should be.
    corrected = control.correct(frame, target, control.start(anchor, target))
    np.testing.assert_allclose(corrected, frame, atol=1e-6)


def test_update_follows_the_frames() -> None:
    anchor = frames(1)
    control = make_control(Hold(loudness=0.1), anchor)
    start = recent = control.start(anchor, control.target_style(NO_DRIFT))
    frame = anchor[:, -1]
    for _ in range(400):
        recent = control.update(recent, frame, frame)
    np.testing.assert_allclose(recent.level, NORMALISER.level(frame), atol=0.02)
    np.testing.assert_allclose(recent.style.mean, frame, atol=0.02)
    assert float(tf.reduce_max(tf.abs(recent.style.mean - start.style.mean))) > 0.1


def test_control_with_hold_off_neither_corrects_nor_keeps_statistics() -> None:
    anchor = frames(1)
    control = make_control(Hold(variety=1.0), anchor)
    target = control.target_style(NO_DRIFT)
    recent = control.start(anchor, target)
    frame = 9 + anchor[:, 0]
    assert control.change_scale(target, recent) is None
    assert control.correct(frame, target, recent) is frame
    assert control.update(recent, frame, frame) is recent


def test_target_style_does_not_depend_on_other_clips_in_the_batch() -> None:
    anchors, drift = frames(7), tf.random.stateless_normal([7, 3, 4], seed=[1, 2])
    hold = Hold(mean=0.1, variety=0.7)
    batch = make_control(hold, anchors).target_style(drift)
    single = make_control(hold, anchors[6:]).target_style(drift[6:])
    for batch_part, single_part in zip(batch, single, strict=True):
        np.testing.assert_array_equal(batch_part[6:], single_part)


def test_target_style_drift_is_scaled_by_variety() -> None:
    anchor, drift = frames(1), tf.ones([1, 3, 4])
    logs = []
    for variety in (0.0, 1.0, 2.0):
        target = make_control(Hold(mean=0.1, variety=variety), anchor).target_style(drift)
        logs.append(float(tf.math.log(target.variance - 0.01)[0, 0]))
    assert logs[2] - logs[1] == pytest.approx(logs[1] - logs[0], rel=1e-3)
    assert logs[1] - logs[0] > 0.5


def test_control_lets_music_begin_after_a_silent_anchor() -> None:
    """Held near no movement at all, a rollout would stay silent for ever."""
    silent = tf.zeros([1, 64, N_MELS])
    hold = Hold(mean=0.025, level=0.4, loudness=0.15, rise=1.5, spread=0.08)
    control = make_control(hold, silent)
    target = control.target_style(NO_DRIFT)
    rollout = correct_all(control, target, silent, frames(1, 600, seed=1))
    assert np.isfinite(rollout).all()
    assert np.std(rollout[-100:]) > 0.05

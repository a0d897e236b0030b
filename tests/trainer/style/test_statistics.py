"""What a rollout is held near: its primer's mean, liveliness and spread; no firmer than told."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from trainer.style.control import Hold
from trainer.style.statistics import Style

N_MELS = 3


def noise(n_frames: int, deviation: float = 1.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(0, deviation, (1, n_frames, N_MELS)).astype(np.float32)


def run(hold: Hold, anchor: np.ndarray, proposals: np.ndarray) -> np.ndarray:
    """What becomes of frames that are proposed one after the other: [n_frames, N_MELS]."""
    wanted = Style.of(tf.constant(anchor))
    recent, last, made = wanted, tf.constant(anchor[:, -1]), []
    for proposal in tf.constant(proposals[0][:, None]):
        frame = last + hold.change(wanted, recent) * (proposal - last)
        frame = hold.frame(frame, wanted, recent)
        recent, last = recent.after(frame, last), frame
        made.append(frame[0].numpy())
    return np.stack(made)


def rise(frames: np.ndarray) -> float:
    return float(np.maximum(np.diff(frames, axis=0), 0).mean())


def test_a_style_is_mean_rise_and_variance_of_each_band() -> None:
    frames = np.array([[[0.0, 1, 5], [2, 1, 3], [1, 1, 4]]], np.float32)
    style = Style.of(tf.constant(frames))
    np.testing.assert_allclose(style.mean, [[1, 1, 4]])
    np.testing.assert_allclose(style.rise, [[1, 0, 0.5]])
    np.testing.assert_allclose(style.variance, [[2 / 3, 0, 2 / 3]], rtol=1e-6)


def test_one_frame_alone_has_a_style() -> None:
    style = Style.of(tf.ones([2, 1, N_MELS]))
    np.testing.assert_array_equal(style.mean, np.ones((2, N_MELS)))
    np.testing.assert_array_equal(style.rise, np.zeros((2, N_MELS)))
    np.testing.assert_array_equal(style.variance, np.zeros((2, N_MELS)))


def test_no_hold_leaves_frames_alone() -> None:
    proposals = noise(50, 2.0, seed=1)
    np.testing.assert_allclose(run(Hold(), noise(64), proposals), proposals[0], atol=1e-5)


@pytest.mark.parametrize("deviation", [0.6, 1.6])
def test_what_moves_too_little_or_too_much_comes_nearer(deviation: float) -> None:
    anchor, proposals = noise(64), noise(1500, deviation, seed=1)
    free, held = run(Hold(), anchor, proposals), run(Hold(rise=1.0), anchor, proposals)
    wanted = rise(anchor[0])
    assert abs(rise(held[500:]) - wanted) < 0.5 * abs(rise(free[500:]) - wanted)


@pytest.mark.parametrize("deviation", [0.6, 1.6])
def test_a_spread_that_is_too_small_or_too_wide_comes_nearer(deviation: float) -> None:
    anchor, proposals = noise(64), noise(1500, deviation, seed=1)
    free, held = run(Hold(), anchor, proposals), run(Hold(spread=0.5), anchor, proposals)
    wanted = float(anchor.std())
    assert abs(held[500:].std() - wanted) < 0.8 * abs(free[500:].std() - wanted)


def test_twice_as_firm_is_twice_each() -> None:
    once, twice = Hold(0.1, 0.2, 0.3, 1.0, 0.05, 0.8), Hold(0.2, 0.4, 0.6, 2.0, 0.1, 0.8)
    assert once.scaled(2.0) == twice
    assert once.scaled(0.0).loose
    assert not Hold(loudness=0.1).loose

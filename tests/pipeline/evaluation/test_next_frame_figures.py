"""The baselines of the next-frame error, on frames that can be predicted exactly."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.next_frame_figures import LinearBaseline, next_frame_figures
from tests.support.standin import stand_in
from trainer.data.windows import Dataset, eval_windows, open_dataset


@pytest.fixture(scope="module")
def data(dataset) -> Dataset:
    return open_dataset(str(dataset))


def test_the_linear_baseline_predicts_a_recurrence(data, monkeypatch) -> None:
    """Bands that oscillate: each frame follows from the two before it, as in x'' = -c x."""
    import tensorflow as tf

    from pipeline.evaluation import next_frame_figures

    time = np.arange(400)
    oscillations = np.stack(
        [3 * np.sin(time / rate + rate) for rate in np.linspace(3, 9, 32)], axis=1
    )
    frames = tf.constant(oscillations, tf.float32)
    monkeypatch.setattr(
        next_frame_figures, "read_chunks", lambda *_: tf.data.Dataset.from_tensors(frames).repeat(1)
    )
    baseline = LinearBaseline(data, floor=-8)
    errors = baseline.errors(oscillations[None, 50:150].astype(np.float32))
    # The error is not 0: the frames before the first are unknown, and the ridge shrinks weights.
    assert errors["linear"] < 0.1 * errors["repeat"]


def test_the_linear_baseline_is_better_than_repeating_on_held_out_music(data) -> None:
    baseline = LinearBaseline(data, floor=-8)
    for batch in eval_windows(data, split="eval", window_frames=64, batch_windows=64):
        errors = baseline.errors(batch.numpy())
        assert 0.1 * errors["repeat"] < errors["linear"] < errors["repeat"]


def test_scores_are_means_over_windows(data) -> None:
    figures = next_frame_figures(stand_in(data, lambda primer, n, seed: primer), data)
    windows = np.concatenate(
        [b.numpy() for b in eval_windows(data, split="eval", window_frames=64, batch_windows=5)]
    )
    expected = np.square(np.diff(windows, axis=1)).mean()
    assert figures["nll"] == pytest.approx(expected, rel=1e-5)
    assert figures["mse"] == pytest.approx(0.8 * expected, rel=1e-5)
    assert figures["mse_ratio"] == pytest.approx(0.8)
    assert figures["linear_mse_ratio"] < 1

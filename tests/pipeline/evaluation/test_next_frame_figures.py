"""The guesses that need no model, on frames whose next ones are known."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.next_frame_figures import LinearGuess, next_frame_figures
from tests.support.standin import stand_in
from trainer.data.windows import Dataset, eval_windows, open_dataset


@pytest.fixture(scope="module")
def data(dataset) -> Dataset:
    return open_dataset(str(dataset))


def test_the_linear_guess_knows_a_recurrence(data, monkeypatch) -> None:
    """Bands that swing: each frame follows from the two before it, as in x'' = -c x."""
    import tensorflow as tf

    from pipeline.evaluation import next_frame_figures

    time = np.arange(400)
    swings = np.stack([3 * np.sin(time / rate + rate) for rate in np.linspace(3, 9, 32)], axis=1)
    frames = tf.constant(swings, tf.float32)
    monkeypatch.setattr(
        next_frame_figures, "chunks", lambda *_: tf.data.Dataset.from_tensors(frames).repeat(1)
    )
    guess = LinearGuess(data, floor=-8)
    errors = guess.errors(swings[None, 50:150].astype(np.float32))
    # What was before the first frame is not known, and the ridge holds the weights back.
    assert errors["linear"] < 0.1 * errors["repeat"]


def test_the_linear_guess_is_better_than_repeating_on_held_out_music(data) -> None:
    guess = LinearGuess(data, floor=-8)
    for batch in eval_windows(data, split="eval", window_frames=64, batch_windows=64):
        errors = guess.errors(batch.numpy())
        assert 0.1 * errors["repeat"] < errors["linear"] < errors["repeat"]


def test_scores_are_means_over_windows(data) -> None:
    found = next_frame_figures(stand_in(data, lambda primer, n, seed: primer), data)
    windows = np.concatenate(
        [b.numpy() for b in eval_windows(data, split="eval", window_frames=64, batch_windows=5)]
    )
    expected = np.square(np.diff(windows, axis=1)).mean()
    assert found["mse"] == found["nll"] == pytest.approx(expected, rel=1e-5)
    assert found["mse_ratio"] == 1
    assert found["linear_mse_ratio"] < 1

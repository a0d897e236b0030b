"""How well a model says the next frame of real music, beside two guesses that need no model.

The model with the lowest error here drones (docs/lab/experiments.md): it is told, and blesses
nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from audio import contract
from generator.inference import Model
from trainer.data.transform_graph import MIN_STD
from trainer.data.windows import Dataset, eval_windows, has_windows, read_chunks

Float64 = npt.NDArray[np.float64]

_HISTORY = 4
_RIDGE = 1e-3
_MOST_FRAMES = 50_000  # of training: enough for 66,000 coefficients that are held small


def next_frame_figures(model: Model, dataset: Dataset) -> dict[str, Any]:
    """Returns errors over the eval split, teacher-forced: real frames before, always.

    Returns:
      mse: mean squared error of the model's expected frame, normalised.
      mse_ratio: that, of the error of repeating the last frame.
      linear_mse_ratio: the same of a ridge regression on the last four frames.
      nll: negative log-likelihood, nats a frame, in the head's own units; None where the model does
        not say it. Compare models with the same head.
      All None where no recording is held out that is long enough.
    """
    train = model.info["train"]
    n_frames = model.info["anchor_frames"] + train["window_frames"]
    if not has_windows(dataset, contract.EVAL, n_frames):
        return dict.fromkeys(("mse", "repeat_last_mse", "mse_ratio", "linear_mse_ratio", "nll"))
    linear = LinearGuess(dataset, floor=train["model_floor"])
    sums: dict[str, float] = {}
    count = 0
    for batch in eval_windows(
        dataset, split=contract.EVAL, window_frames=n_frames, batch_windows=train["batch_windows"]
    ):
        scores = model.signatures[contract.SCORE](log_mel=batch)
        window = batch.numpy()[:, model.info["anchor_frames"] :]
        found = {name: float(tf.reduce_sum(each)) for name, each in scores.items()}
        found |= linear.errors(window)
        sums = {name: sums.get(name, 0.0) + value for name, value in found.items()}
        count += len(window)
    means = {name: value / count for name, value in sums.items()}
    return {
        "mse": means["mse"],
        "repeat_last_mse": means["repeat_last_mse"],
        "mse_ratio": means["mse"] / means["repeat_last_mse"],
        "linear_mse_ratio": means["linear"] / means["repeat"],
        "nll": means.get("nll"),
    }


class LinearGuess:
    """The next frame as a linear function of the last four, all bands to all bands.

    W = (X'X / n + 0.001 I)^-1 X'Y / n over the training split, with X the newest normalised frame
    and the changes to it from the three before, and Y the change to the next.

    Args:
      dataset: a finished dataset.
      floor: log-mel below this is raised to it, nats.

    References:
      Hoerl and Kennard, "Ridge regression", 1970.
    """

    def __init__(self, dataset: Dataset, *, floor: float) -> None:
        self._floor = floor
        records = dataset.info["splits"][contract.TRAIN]["records"]
        some = next(iter(read_chunks(dataset, contract.TRAIN)))
        every = max(1, -(-records * len(some) // _MOST_FRAMES))
        pieces = [
            np.maximum(piece.numpy(), floor).astype(np.float64)
            for piece in read_chunks(dataset, contract.TRAIN).shard(every, 0)
        ]
        whole = np.concatenate(pieces)
        self._mean, self._std = whole.mean(axis=0), np.maximum(whole.std(axis=0), MIN_STD)
        size = _HISTORY * whole.shape[1]
        squares, crossed = np.zeros((size, size)), np.zeros((size, whole.shape[1]))
        for piece in pieces:
            frames = (piece - self._mean) / self._std
            if len(frames) > _HISTORY:
                known = _history(frames[None])[0, _HISTORY - 1 : -1]
                change = np.diff(frames, axis=0)[_HISTORY - 1 :]
                squares += known.T @ known
                crossed += known.T @ change
        total = max(1, len(whole))
        self._weights = np.linalg.solve(squares / total + _RIDGE * np.eye(size), crossed / total)

    def errors(self, windows: npt.NDArray[np.float32]) -> dict[str, float]:
        """Returns sums over windows [n, n_frames, n_mels] of each one's mean squared error.

        Returns:
          `linear`, and `repeat` for repeating the last frame: both in the same units.
        """
        frames = (np.maximum(windows, self._floor).astype(np.float64) - self._mean) / self._std
        change = np.diff(frames, axis=1)
        missed = change - _history(frames)[:, :-1] @ self._weights
        return {
            "linear": float(np.square(missed).mean(axis=(1, 2)).sum()),
            "repeat": float(np.square(change).mean(axis=(1, 2)).sum()),
        }


def _history(frames: Float64) -> Float64:
    """Returns each frame and the changes that led to it: [n, n_frames, 4 * n_mels].

    Before the first frame there was, as far as is known, the first frame.
    """
    padded = np.concatenate([np.repeat(frames[:, :1], _HISTORY - 1, axis=1), frames], axis=1)
    count = frames.shape[1]
    older = [padded[:, _HISTORY - 1 - back :][:, :count] for back in range(1, _HISTORY)]
    return np.concatenate([frames, *(frames - each for each in older)], axis=2)

"""Next-frame error and likelihood of a model on held-out recordings, and simple baselines.

The model with the lowest error drones (docs/lab/experiments.md). So the verdict only wants a model
to do better than repeating the last frame, and than its own network without training.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from audio import contract
from generator.inference import Model
from trainer.data.normaliser import Normaliser
from trainer.data.transform_graph import MIN_STD
from trainer.data.windows import Dataset, eval_windows, has_windows, read_chunks
from trainer.model.next_frame import NextFrameModel
from trainer.settings import TrainSettings
from trainer.tf_function import graph_function

Float64 = npt.NDArray[np.float64]

# Number of frames that the linear baseline sees.
_HISTORY = 4
# Ridge penalty of the linear baseline.
_RIDGE = 1e-3
# Training frames for the linear baseline: enough for its 66,000 regularised coefficients.
_MAX_FRAMES = 50_000


def next_frame_figures(model: Model, dataset: Dataset) -> dict[str, Any]:
    """Returns teacher-forced errors over the eval split: the model always sees real frames.

    Returns:
      mse: Mean squared error of the model's expected frame, in normalised units.
      repeat_last_mse: The same if the last frame is repeated.
      mse_ratio: mse divided by repeat_last_mse.
      linear_mse_ratio: Error of a ridge regression on the last four frames, divided by that of
        repeating the last frame.
      nll: Negative log-likelihood, nats per frame, in the head's own units; None if the model does
        not report it. Only models with the same head can be compared.
      All are None if no held-out recording is long enough.
    """
    train = model.info["train"]
    n_frames = model.info["anchor_frames"] + train["window_frames"]
    if not has_windows(dataset, contract.EVAL, n_frames):
        return dict.fromkeys(("mse", "repeat_last_mse", "mse_ratio", "linear_mse_ratio", "nll"))
    baseline = LinearBaseline(dataset, floor=train["model_floor"])
    sums: dict[str, float] = {}
    count = 0
    for batch in eval_windows(
        dataset, split=contract.EVAL, window_frames=n_frames, batch_windows=train["batch_windows"]
    ):
        scores = model.signatures[contract.SCORE](log_mel=batch)
        windows = batch.numpy()[:, model.info["anchor_frames"] :]
        errors = {name: float(tf.reduce_sum(values)) for name, values in scores.items()}
        errors |= baseline.errors(windows)
        sums = {name: sums.get(name, 0.0) + value for name, value in errors.items()}
        count += len(windows)
    means = {name: value / count for name, value in sums.items()}
    return {
        "mse": means["mse"],
        "repeat_last_mse": means["repeat_last_mse"],
        "mse_ratio": means["mse"] / means["repeat_last_mse"],
        "linear_mse_ratio": means["linear"] / means["repeat"],
        "nll": means.get("nll"),
    }


def held_out_nll(
    network: NextFrameModel, normaliser: Normaliser, dataset: Dataset, settings: TrainSettings
) -> float | None:
    """Returns the negative log-likelihood of the held-out windows, nats per frame.

    It is what next_frame_figures returns as `nll`, for a network that was not exported.

    Args:
      network: A built network.
      normaliser: Its normaliser.
      dataset: Finished dataset.
      settings: Settings that the network was built with.

    Returns:
      None if no held-out recording is long enough.
    """
    n_frames = network.anchor_frames + settings.window_frames
    if not has_windows(dataset, contract.EVAL, n_frames):
        return None

    def score(log_mel: tf.Tensor) -> tf.Tensor:
        frames = normaliser.apply(log_mel)
        window = frames[:, network.anchor_frames :]
        nll = network.head.negative_log_likelihood(network(frames[:, :-1]), window)
        return tf.reduce_sum(tf.reduce_mean(nll, axis=1))

    compiled = graph_function(score)
    total, count = 0.0, 0
    for batch in eval_windows(
        dataset,
        split=contract.EVAL,
        window_frames=n_frames,
        batch_windows=settings.batch_windows,
    ):
        total += float(compiled(batch))
        count += len(batch)
    return total / count


class LinearBaseline:
    """Predicts the next frame as a linear function of the last four, all bands to all bands.

    W = (X'X / n + 0.001 I)^-1 X'Y / n over the training split, with X the newest normalised frame
    and its differences from the three frames before it, and Y the change to the next frame.

    Args:
      dataset: Finished dataset.
      floor: Log-mel below this value is raised to it, nats.

    References:
      Hoerl and Kennard, "Ridge regression", 1970.
    """

    def __init__(self, dataset: Dataset, *, floor: float) -> None:
        self._floor = floor
        records = dataset.info["splits"][contract.TRAIN]["records"]
        first_chunk = next(iter(read_chunks(dataset, contract.TRAIN)))
        step = max(1, -(-records * len(first_chunk) // _MAX_FRAMES))
        pieces = [
            np.maximum(piece.numpy(), floor).astype(np.float64)
            for piece in read_chunks(dataset, contract.TRAIN).shard(step, 0)
        ]
        frames = np.concatenate(pieces)
        self._mean, self._std = frames.mean(axis=0), np.maximum(frames.std(axis=0), MIN_STD)
        n_inputs, n_mels = _HISTORY * frames.shape[1], frames.shape[1]
        xx, xy = np.zeros((n_inputs, n_inputs)), np.zeros((n_inputs, n_mels))
        for piece in pieces:
            normalised = (piece - self._mean) / self._std
            if len(normalised) > _HISTORY:
                x = _history(normalised[None])[0, _HISTORY - 1 : -1]
                y = np.diff(normalised, axis=0)[_HISTORY - 1 :]
                xx += x.T @ x
                xy += x.T @ y
        n = max(1, len(frames))
        self._weights = np.linalg.solve(xx / n + _RIDGE * np.eye(n_inputs), xy / n)

    def errors(self, windows: npt.NDArray[np.float32]) -> dict[str, float]:
        """Returns mean squared errors, summed over windows [n, n_frames, n_mels].

        Returns:
          `linear` for this baseline and `repeat` for repeating the last frame, in the same units.
        """
        frames = (np.maximum(windows, self._floor).astype(np.float64) - self._mean) / self._std
        change = np.diff(frames, axis=1)
        residual = change - _history(frames)[:, :-1] @ self._weights
        return {
            "linear": float(np.square(residual).mean(axis=(1, 2)).sum()),
            "repeat": float(np.square(change).mean(axis=(1, 2)).sum()),
        }


def _history(frames: Float64) -> Float64:
    """Returns each frame and its differences from the three before it: [n, n_frames, 4 * n_mels].

    The frames before the first one are taken to be equal to it.
    """
    padded = np.concatenate([np.repeat(frames[:, :1], _HISTORY - 1, axis=1), frames], axis=1)
    count = frames.shape[1]
    older = [padded[:, _HISTORY - 1 - back :][:, :count] for back in range(1, _HISTORY)]
    return np.concatenate([frames, *(frames - frame for frame in older)], axis=2)

"""Models whose rollouts are known. They have the signatures of a SavedModel, but no weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from audio import contract
from generator.inference import Model
from tests.support.tiny import TINY
from trainer.data.windows import Dataset

Float32 = npt.NDArray[np.float32]

PRIMER_FRAMES = 32


def stand_in(
    dataset: Dataset, play: Callable[[Float32, int, int], Float32], *, path: str = ""
) -> Model:
    """Returns a model whose rollouts a function computes.

    Args:
      dataset: Dataset whose front end the model has.
      play: Function of a primer [n, n_mels], a number of frames and a seed, which returns frames
        [n_frames, n_mels].
      path: Folder with a Transform graph, if controls are to be trained like this model.
    """

    def rollout(primer: tf.Tensor, n_frames: tf.Tensor, seeds: tf.Tensor, **_: Any) -> Any:
        frames = [
            play(frames, int(n_frames), int(seed))
            for frames, seed in zip(primer.numpy(), seeds.numpy(), strict=True)
        ]
        return {contract.LOG_MEL: tf.constant(np.stack(frames), tf.float32)}

    def score(log_mel: tf.Tensor) -> Any:
        change = tf.reduce_mean(tf.square(log_mel[:, 1:] - log_mel[:, :-1]), axis=[1, 2])
        return {"mse": 0.8 * change, "repeat_last_mse": change, "nll": change}

    train = {
        **dataclasses.asdict(TINY),
        "primer_frames": PRIMER_FRAMES,
        "window_frames": 64,
        "batch_windows": 8,
    }
    return Model(
        path=path,
        info={
            "model_id": "0" * 12,
            "anchor_frames": 0,
            "natural_temperature": 1.0,
            "train": train,
            "dataset": {"path": dataset.path},
        },
        audio=dataset.audio,
        primers=np.zeros((0, PRIMER_FRAMES, dataset.audio.n_mels), np.float32),
        primer_sources=(),
        signatures={contract.ROLLOUT: rollout, contract.SCORE: score},
    )

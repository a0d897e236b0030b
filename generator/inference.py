"""A trained model, loaded and rolled out; nothing of the trainer's code is needed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from audio import contract
from audio.config import AudioConfig
from audio.errors import IncompleteError

# A rollout always runs with this many rows, empty ones among them: a matrix product's last bit
# depends on its shape, and a clip must not depend on its neighbours.
BATCH_CLIPS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """A loaded model.

    Attributes:
      path: the SavedModel's folder.
      info: the content of model_info.json.
      audio: the front end that its frames are of.
      primers: natural-log mel, float32 [n_primers, n_frames, n_mels].
      primer_sources: where each primer is from, as JSON.
      signatures: of the SavedModel.
    """

    path: str
    info: dict[str, Any]
    audio: AudioConfig
    primers: npt.NDArray[np.float32]
    primer_sources: tuple[str, ...]
    signatures: Any


def load_model(path: str) -> Model:
    """Loads a model that the trainer exported.

    Raises:
      IncompleteError: a part of it is missing.
    """
    path = path.rstrip("/")
    for name in ("saved_model.pb", contract.MODEL_INFO, contract.PRIMERS):
        if not tf.io.gfile.exists(f"{path}/{name}"):
            raise IncompleteError(
                f"{path} is not a finished model: {name} is missing. Give the folder that "
                "`nocturne train --model` wrote."
            )
    with tf.io.gfile.GFile(f"{path}/{contract.MODEL_INFO}") as file:
        info = json.loads(file.read())
    with tf.io.gfile.GFile(f"{path}/{contract.PRIMERS}", "rb") as file:
        primers = np.load(file, allow_pickle=False)
        log_mel, sources = primers["log_mel"].astype(np.float32), primers["source"]
    return Model(
        path=path,
        info=info,
        audio=AudioConfig.from_json(json.dumps(info["audio"])),
        primers=log_mel,
        primer_sources=tuple(str(source) for source in sources),
        signatures=tf.saved_model.load(path).signatures,
    )


def roll_out(
    model: Model,
    primers: npt.NDArray[np.float32],
    *,
    seeds: Sequence[int],
    n_frames: int,
    temperature: float | None,
    spread: float | None = None,
    noise_floor: float = 0.0,
    anchors: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.float32]:
    """Runs the model freely after primers, in batches of BATCH_CLIPS.

    Args:
      model: a loaded model.
      primers: natural-log mel [n_clips, n, n_mels].
      seeds: one a clip; with its primer it decides the clip.
      n_frames: frames to make.
      temperature: see GenerateSettings; None for the model's own.
      spread: see GenerateSettings; None for the temperature.
      noise_floor: see GenerateSettings.
      anchors: natural-log mel [n_clips, m, n_mels], whose style is kept; the primers unless given.

    Returns:
      Natural-log mel, float32 [n_clips, n_frames, n_mels].
    """
    if temperature is None:
        temperature = model.info["natural_temperature"]
    anchors = primers if anchors is None else anchors
    scalars = {
        "temperature": temperature,
        "spread": temperature if spread is None else spread,
        "noise_floor": noise_floor,
    }
    made = []
    for start in range(0, len(seeds), BATCH_CLIPS):
        count = len(seeds[start : start + BATCH_CLIPS])
        rows = np.resize(np.arange(start, start + count), BATCH_CLIPS)
        made.append(
            model.signatures[contract.ROLLOUT](
                primer=tf.constant(primers[rows]),
                anchor=tf.constant(anchors[rows]),
                n_frames=tf.constant(n_frames, tf.int32),
                **{name: tf.constant(value, tf.float32) for name, value in scalars.items()},
                seeds=tf.constant(np.asarray(seeds, np.int64)[rows]),
            )[contract.LOG_MEL].numpy()[:count]
        )
    return np.concatenate(made)

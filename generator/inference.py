"""Loading a trained model and rolling it out, without any of the trainer's code."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from google.protobuf.message import DecodeError

from audio import contract
from audio.config import AudioConfig
from audio.errors import ConfigMismatchError, IncompleteError
from storage import files
from storage.model_files import explain_damage, read_model_info, read_primers

# Rows of every rollout, of which some may be repetitions: the last bit of a matrix product depends
# on its shape, and a clip must not depend on the others in its batch.
BATCH_CLIPS = 8
# Names of the inputs of the rollout signature (trainer/export/saved_model.py).
_INPUTS = {"primer", "anchor", "n_frames", "temperature", "spread", "noise_floor", "seeds"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """A loaded model.

    Attributes:
      path: Folder of the SavedModel.
      info: Content of model_info.json.
      audio: Front end of its frames.
      primers: Natural-log mel, float32 [n_primers, n_frames, n_mels].
      primer_sources: Source of each primer, as JSON.
      signatures: Signatures of the SavedModel.
    """

    path: str
    info: dict[str, Any]
    audio: AudioConfig
    primers: npt.NDArray[np.float32]
    primer_sources: tuple[str, ...]
    signatures: Any


def load_model(path: str) -> Model:
    """Loads a model that the trainer exported.

    A model consists of TensorFlow's operations, JSON and plain arrays. It has neither Python code
    nor pickles, so that loading it executes nothing else.

    Raises:
      IncompleteError: A part of the model is missing or damaged.
      ConfigMismatchError: The model is not Nocturne's, is of another version, or has parts of two
        models.
    """
    path = path.rstrip("/")
    for name in ("saved_model.pb", contract.MODEL_INFO, contract.PRIMERS):
        if not files.exists(f"{path}/{name}"):
            raise IncompleteError(
                f"{path} is not a finished model: {name} is missing. Give the folder that "
                "`nocturne train --model` wrote."
            )
    info, audio = read_model_info(path)
    primers = read_primers(path, info, audio)
    with (
        explain_damage(path, "saved_model.pb or variables/", tf.errors.OpError, DecodeError),
        files.plain_path(path) as folder,
    ):
        loaded = tf.saved_model.load(folder)
    _check_signatures(path, info, audio, loaded.signatures)
    _check_weights(path, info, loaded)
    return Model(
        path=path,
        info=info,
        audio=audio,
        primers=primers.log_mel,
        primer_sources=primers.sources,
        signatures=loaded.signatures,
    )


def _check_signatures(path: str, info: dict[str, Any], audio: AudioConfig, signatures: Any) -> None:
    rollout = signatures.get(contract.ROLLOUT)
    inputs = rollout.structured_input_signature[1] if rollout else {}
    if set(inputs) != _INPUTS:
        raise ConfigMismatchError(
            f"{path}: wanted a rollout with inputs {', '.join(sorted(_INPUTS))}; model "
            f"{info['model_id']} has {', '.join(sorted(inputs)) or 'none'}. It is not Nocturne's, "
            "or is of another version: train again, or use the version that exported it."
        )
    n_mels = inputs["primer"].shape[-1]
    if n_mels != audio.n_mels:
        raise ConfigMismatchError(
            f"{path}: saved_model.pb has {n_mels} mel bands, and {contract.MODEL_INFO} "
            f"{audio.n_mels}. They are of two models. Copy the model again, or train again."
        )


def _check_weights(path: str, info: dict[str, Any], loaded: Any) -> None:
    """Checks that the model's id is the hash of its weights; see trainer/export/saved_model.py."""
    if not hasattr(loaded, contract.WEIGHTS):
        return  # a model of an earlier version
    digest = hashlib.sha256(info["fingerprint"].encode())
    for weight in getattr(loaded, contract.WEIGHTS):
        digest.update(weight.numpy().tobytes())
    if digest.hexdigest()[:12] != info["model_id"]:
        raise ConfigMismatchError(
            f"{path}: {contract.MODEL_INFO} is of model {info['model_id']}, and the weights are of "
            f"{digest.hexdigest()[:12]}. Copy the model again, or train again."
        )


def roll_out(
    model: Model,
    primers: npt.NDArray[np.float32],
    *,
    seeds: Sequence[int],
    n_frames: int,
    temperature: float | None,
    anchors: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.float32]:
    """Lets the model continue primers with its own output, in batches of BATCH_CLIPS.

    Args:
      model: Loaded model.
      primers: Natural-log mel [n_clips, n, n_mels].
      seeds: Seed of each clip. Seed, primer and anchor determine the clip.
      n_frames: Number of frames to generate.
      temperature: Sampling temperature (see GenerateSettings); None for the model's own.
      anchors: natural-log mel [n_clips, m, n_mels], whose style is kept; the primers unless given.

    Returns:
      Natural-log mel, float32 [n_clips, n_frames, n_mels].
    """
    if temperature is None:
        temperature = model.info["natural_temperature"]
    anchors = primers if anchors is None else anchors
    scalars = {
        "temperature": temperature,
        "spread": temperature,
        "noise_floor": 0.0,
    }
    batches = []
    for start in range(0, len(seeds), BATCH_CLIPS):
        count = len(seeds[start : start + BATCH_CLIPS])
        rows = np.resize(np.arange(start, start + count), BATCH_CLIPS)
        batches.append(
            model.signatures[contract.ROLLOUT](
                primer=tf.constant(primers[rows]),
                anchor=tf.constant(anchors[rows]),
                n_frames=tf.constant(n_frames, tf.int32),
                **{name: tf.constant(value, tf.float32) for name, value in scalars.items()},
                seeds=tf.constant(np.asarray(seeds, np.int64)[rows]),
            )[contract.LOG_MEL].numpy()[:count]
        )
    return np.concatenate(batches)

"""Loading a trained model and rolling it out, without any of the trainer's code."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from google.protobuf import message

from audio import contract
from audio.config import AudioConfig
from audio.errors import ConfigMismatchError, IncompleteError
from storage import faults, files

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
      ConfigMismatchError: The model is not Nocturne's, or is of another version.
    """
    path = path.rstrip("/")
    for name in ("saved_model.pb", contract.MODEL_INFO, contract.PRIMERS):
        if not files.exists(f"{path}/{name}"):
            raise IncompleteError(
                f"{path} is not a finished model: {name} is missing. Give the folder that "
                "`nocturne train --model` wrote."
            )
    with _explain_damage(path, contract.MODEL_INFO):
        info = files.read_json(f"{path}/{contract.MODEL_INFO}")
        audio = AudioConfig.from_json(json.dumps(info["audio"]))
        model_id = info["model_id"]
    if info["fingerprint"] != audio.fingerprint:
        raise ConfigMismatchError(
            f"{path}: its {contract.MODEL_INFO} names front end {info['fingerprint']}, but "
            f"describes {audio.fingerprint}. It was changed, or is of another version. Train again."
        )
    with _explain_damage(path, contract.PRIMERS):
        with files.open_local(f"{path}/{contract.PRIMERS}") as file:
            primers = dict(np.load(file, allow_pickle=False))
        log_mel, sources = primers["log_mel"].astype(np.float32), primers["source"]
    with _explain_damage(path, "saved_model.pb or variables/"):
        signatures = tf.saved_model.load(path).signatures
    _check_signatures(path, model_id, signatures)
    return Model(
        path=path,
        info=info,
        audio=audio,
        primers=log_mel,
        primer_sources=tuple(str(source) for source in sources),
        signatures=signatures,
    )


@contextlib.contextmanager
def _explain_damage(path: str, part: str) -> Iterator[None]:
    """Turns any library's error while it reads a part of a model into one of ours.

    Raises:
      IncompleteError: The part is damaged.
      UnwritableError, MachineError: The system cannot read it.
    """
    try:
        yield
    except (
        *(OSError, ValueError, TypeError, LookupError, EOFError, zipfile.BadZipFile),
        *(tf.errors.OpError, message.DecodeError),
    ) as error:
        fault = faults.find_fault(error)
        if fault is not None:
            raise fault from error
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        raise IncompleteError(
            f"{path}: {part} is damaged ({type(error).__name__}: {reason}). Copy the model again "
            "from an intact one, or train again."
        ) from error


def _check_signatures(path: str, model_id: str, signatures: Any) -> None:
    rollout = signatures.get(contract.ROLLOUT)
    inputs = set(rollout.structured_input_signature[1]) if rollout else set()
    if inputs != _INPUTS:
        raise ConfigMismatchError(
            f"{path}: wanted a rollout with inputs {', '.join(sorted(_INPUTS))}; model {model_id} "
            f"has {', '.join(sorted(inputs)) or 'none'}. It is not Nocturne's, or is of another "
            "version: train again, or use the version that exported it."
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

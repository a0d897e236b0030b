"""A trained model, loaded and rolled out; nothing of the trainer's code is needed."""

from __future__ import annotations

import contextlib
import dataclasses
import io
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

# A rollout always runs with this many rows, empty ones among them: a matrix product's last bit
# depends on its shape, and a clip must not depend on its neighbours.
BATCH_CLIPS = 8
_GRAPH = "saved_model.pb"
# Of the rollout signature, see trainer/export/saved_model.py.
_INPUTS = {"primer", "anchor", "n_frames", "temperature", "spread", "noise_floor", "seeds"}


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

    Nothing of it is Python code or a pickle: TensorFlow's operations, JSON and plain arrays.

    Raises:
      IncompleteError: a part of it is missing or damaged.
      ConfigMismatchError: it is no model of ours, or one of another version.
    """
    path = path.rstrip("/")
    for name in (_GRAPH, contract.MODEL_INFO, contract.PRIMERS):
        if not tf.io.gfile.exists(f"{path}/{name}"):
            raise IncompleteError(
                f"{path} is not a finished model: {name} is missing. Give the folder that "
                "`nocturne train --model` wrote."
            )
    with _whole(path, contract.MODEL_INFO):
        info = json.loads(_read(path, contract.MODEL_INFO))
        audio = AudioConfig.from_json(json.dumps(info["audio"]))
        model_id = info["model_id"]
    if info["fingerprint"] != audio.fingerprint:
        raise ConfigMismatchError(
            f"{path}: its {contract.MODEL_INFO} says front end {info['fingerprint']}, and "
            f"describes {audio.fingerprint}. It was altered, or is of another version. Train anew."
        )
    with _whole(path, contract.PRIMERS):
        primers = np.load(io.BytesIO(_read(path, contract.PRIMERS)), allow_pickle=False)
        log_mel, sources = primers["log_mel"].astype(np.float32), primers["source"]
    with _whole(path, "saved_model.pb or variables/"):
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


def _read(path: str, name: str) -> bytes:
    with tf.io.gfile.GFile(f"{path}/{name}", "rb") as file:
        content: bytes = file.read()
    return content


@contextlib.contextmanager
def _whole(path: str, part: str) -> Iterator[None]:
    """Says plainly that a part of a model cannot be read, whatever a library calls it."""
    try:
        yield
    except (
        *(OSError, ValueError, TypeError, LookupError, EOFError, zipfile.BadZipFile),
        *(tf.errors.OpError, message.DecodeError),
    ) as error:
        said = (str(error).strip().splitlines() or [""])[0][:200]
        raise IncompleteError(
            f"{path}: {part} is damaged ({type(error).__name__}: {said}). Copy the model again "
            "from where it is whole, or train anew."
        ) from error


def _check_signatures(path: str, model_id: str, signatures: Any) -> None:
    found = signatures.get(contract.ROLLOUT)
    inputs = set(found.structured_input_signature[1]) if found else set()
    if inputs != _INPUTS:
        raise ConfigMismatchError(
            f"{path}: wanted a rollout of {', '.join(sorted(_INPUTS))}; model {model_id} has "
            f"{', '.join(sorted(inputs)) or 'none'}. It is not ours, or of another version: train "
            "anew, or use the version that exported it."
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
    """Runs the model freely after primers, in batches of BATCH_CLIPS.

    Args:
      model: a loaded model.
      primers: natural-log mel [n_clips, n, n_mels].
      seeds: one a clip; with its primer it decides the clip.
      n_frames: frames to make.
      temperature: see GenerateSettings; None for the model's own.
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

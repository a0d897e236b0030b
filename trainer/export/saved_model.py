"""The exported model: a SavedModel that plain TensorFlow loads, with all it needs to know inside.

Signatures:
  rollout: primer float32 [batch, n, n_mels] (natural-log mel), anchor float32 [batch, m, n_mels]
    (shows the style to keep; the primer again if nothing else is known), n_frames int32 [],
    temperature, spread and noise_floor float32 [] (see Sampling in model/head.py), seeds int64
    [batch] -> log_mel float32 [batch, n_frames, n_mels].
  score: log_mel float32 [batch, n, n_mels], of which the first anchor_frames (model_info.json) show
    the style of the others -> three float32 [batch]: mse and repeat_last_mse (the error of
    repeating the last frame), both over normalised next frames, and nll, the negative
    log-likelihood in nats per frame (see Head.negative_log_likelihood).
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import platform
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from audio import contract
from audio.tonality import tonality_limits
from storage import files
from trainer.data.normaliser import Normaliser
from trainer.data.passages import cut_passages, passage_frames
from trainer.data.windows import Dataset, cut_primers
from trainer.export.roll_out import roll_out
from trainer.export.warm_start import BaseModel
from trainer.model.head import Sampling
from trainer.model.next_frame import NextFrameModel
from trainer.settings import N_PRIMERS, TrainSettings
from trainer.tf_function import graph_function

# Passages of the training recordings whose tonality is measured, and their length in seconds.
_N_TONALITY_PASSAGES = 64
_TONALITY_SECONDS = 10.0


class ServingModule(tf.Module):
    """The model and its Transform graph, with the signatures described above."""

    def __init__(
        self, model: NextFrameModel, *, transform_graph: str, settings: TrainSettings
    ) -> None:
        super().__init__()
        self.model = model
        # A list of our own: the objects that Keras tracks have another order, and leave some out.
        setattr(self, contract.WEIGHTS, list(model.weights))
        with files.plain_path(transform_graph) as folder:
            self.transform = tft.TFTransformOutput(folder).transform_features_layer()
        self._floor = settings.model_floor
        frames = [None, None, model.n_mels]
        self.rollout = graph_function(
            self._rollout,
            input_signature=[
                tf.TensorSpec(frames, tf.float32, "primer"),
                tf.TensorSpec(frames, tf.float32, "anchor"),
                tf.TensorSpec([], tf.int32, "n_frames"),
                tf.TensorSpec([], tf.float32, "temperature"),
                tf.TensorSpec([], tf.float32, "spread"),
                tf.TensorSpec([], tf.float32, "noise_floor"),
                tf.TensorSpec([None], tf.int64, "seeds"),
            ],
        )
        self.score = graph_function(
            self._score, input_signature=[tf.TensorSpec(frames, tf.float32, "log_mel")]
        )

    def _rollout(
        self,
        primer: tf.Tensor,
        anchor: tf.Tensor,
        n_frames: tf.Tensor,
        temperature: tf.Tensor,
        spread: tf.Tensor,
        noise_floor: tf.Tensor,
        seeds: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        log_mel = roll_out(
            self.model,
            Normaliser.from_layer(self.transform, floor=self._floor),
            primer,
            anchor=anchor,
            n_frames=n_frames,
            sampling=Sampling(temperature, spread, noise_floor),
            seeds=seeds,
        )
        return {contract.LOG_MEL: log_mel}

    def _score(self, log_mel: tf.Tensor) -> dict[str, tf.Tensor]:
        frames = Normaliser.from_layer(self.transform, floor=self._floor).apply(log_mel)
        outputs = self.model(frames[:, :-1])
        predicted = self.model.head.mean(outputs)
        window = frames[:, self.model.anchor_frames :]

        def mean_square(guess: tf.Tensor) -> tf.Tensor:
            return tf.reduce_mean(tf.square(guess - window[:, 1:]), axis=[1, 2])

        return {
            "mse": mean_square(predicted),
            "repeat_last_mse": mean_square(window[:, :-1]),
            "nll": tf.reduce_mean(self.model.head.negative_log_likelihood(outputs, window), axis=1),
        }


def model_id(model: NextFrameModel, dataset: Dataset) -> str:
    """Returns 12 hex digits that depend on the weights and the front end alone."""
    digest = hashlib.sha256(dataset.audio.fingerprint.encode())
    for weight in model.weights:
        digest.update(keras.ops.convert_to_numpy(weight).tobytes())
    return digest.hexdigest()[:12]


def export_model(
    model: NextFrameModel,
    *,
    path: str,
    dataset: Dataset,
    transform_graph: str,
    settings: TrainSettings,
    history: dict[str, Any],
    effective_config: str,
    base: BaseModel | None = None,
    logs: str | None = None,
) -> dict[str, Any]:
    """Writes the SavedModel to a temporary folder, then moves it to `path`.

    Args:
      model: A trained model.
      path: The folder that the model gets.
      dataset: The dataset that it was trained on.
      transform_graph: The Transform graph that it was trained with.
      settings: Settings of the training run.
      history: History of the training run, for history.json.
      effective_config: The whole configuration as YAML.
      base: The model that training continued from.
      logs: A folder of TensorBoard files to copy into the model's folder.

    Returns:
      The content of model_info.json.
    """
    path = path.rstrip("/")
    info = {
        "format_version": contract.FORMAT_VERSION,
        "model_id": model_id(model, dataset),
        "fingerprint": dataset.audio.fingerprint,
        "audio": json.loads(dataset.audio.to_json()),
        "train": settings.recorded(),
        "dataset": {"path": dataset.path, "dataset_id": dataset.info["dataset_id"]},
        "parameters": int(model.count_params()),
        "anchor_frames": model.anchor_frames,
        "natural_temperature": model.head.natural_temperature,
        "metrics": history["best"],
        "tonality": _tonality(dataset),
        "warm_start": dataclasses.asdict(base) if base else None,
        "versions": {
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
        },
    }
    module = ServingModule(model, transform_graph=transform_graph, settings=settings)
    signatures = {contract.ROLLOUT: module.rollout, contract.SCORE: module.score}
    assets = {
        contract.PRIMERS: _primers_npz(dataset, settings),
        contract.HISTORY: json.dumps(history, indent=2, sort_keys=True).encode(),
        f"assets.extra/{contract.EFFECTIVE_CONFIG}": effective_config.encode(),
        contract.MODEL_INFO: json.dumps(info, indent=2, sort_keys=True).encode(),
    }
    with files.atomic_folder(path, last="saved_model.pb") as partial:
        with files.plain_path(partial) as folder:
            tf.saved_model.save(module, folder, signatures=signatures)
        for name, content in assets.items():
            with files.atomic_file(f"{partial}/{name}") as file:
                file.write(content)
        files.copy_tree(transform_graph, f"{partial}/{contract.TRANSFORM_GRAPH}")
        if logs:
            files.copy_tree(logs, f"{partial}/{contract.TENSORBOARD}")
    return info


def _tonality(dataset: Dataset) -> dict[str, float]:
    """Returns how long tones last in the training music at least; see tonality_limits."""
    wanted = dataset.audio.frames_for(_TONALITY_SECONDS)
    length = passage_frames(dataset, contract.TRAIN, wanted)
    passages = cut_passages(dataset, contract.TRAIN, n_frames=length, count=_N_TONALITY_PASSAGES)
    return tonality_limits([passage.log_mel for passage in passages], dataset.audio)


def _primers_npz(dataset: Dataset, settings: TrainSettings) -> bytes:
    """Returns the primers that are exported with the model, as an .npz of plain arrays."""
    primers = cut_primers(dataset, n_frames=settings.primer_frames, count=N_PRIMERS)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        log_mel=np.stack([primer.log_mel for primer in primers]).astype(np.float16),
        source=np.array([primer.source for primer in primers]),
    )
    return buffer.getvalue()

"""Warm start: training continues from an exported model, including everything it measured.

Frames that are normalised or projected differently mean something else to the same LSTM, so its
weights alone would be worth little. A warm start therefore takes the Transform graph, the principal
components and all other statistics from the exported model and not from the new data.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from audio import contract
from audio.errors import ConfigMismatchError, IncompleteError
from storage import files
from storage.dataset_files import read_recordings
from storage.model_files import read_model_info
from trainer.data.windows import Dataset
from trainer.model.next_frame import NextFrameModel
from trainer.settings import TrainSettings

# Settings that decide which weights there are and what their inputs mean.
_ARCHITECTURE = (
    "head",
    "residual",
    "units",
    "n_layers",
    "mixture_components",
    "mixture_dims",
    "onset_classes",
    "model_floor",
)
_REMEDY = "Train without a warm start (train.warm_start='')"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaseModel:
    """An exported model from which training continues.

    Attributes:
      path: Its folder.
      model_id: Its id.
      splits_compared: Whether its training recordings could be compared with those that are held
        out now; False if the dataset that it was trained on no longer exists.
    """

    path: str
    model_id: str
    splits_compared: bool

    @property
    def transform_graph(self) -> str:
        """The folder of its Transform graph."""
        return f"{self.path}/{contract.TRANSFORM_GRAPH}"

    def restore(self, model: NextFrameModel) -> None:
        """Gives a model the weights and the measured statistics of this one.

        Raises:
          ConfigMismatchError: The model has other weights.
        """
        weights = tf.train.Checkpoint(**{contract.WEIGHTS: list(model.weights)})
        try:
            with files.plain_path(self.path) as folder:
                status = weights.read(f"{folder}/variables/variables")
            status.assert_existing_objects_matched().expect_partial()
        except (AssertionError, ValueError, tf.errors.NotFoundError) as error:
            raise ConfigMismatchError(
                f"the weights in {self.path} were written by another version of Nocturne, whose "
                f"model has other layers. {_REMEDY}."
            ) from error


def open_base_model(path: str, dataset: Dataset, settings: TrainSettings) -> BaseModel:
    """Opens a model to continue from, and checks that it fits.

    Args:
      path: A folder that the trainer exported.
      dataset: The dataset to train on.
      settings: Settings of the training run.

    Raises:
      IncompleteError: The folder is not a complete model.
      ConfigMismatchError: The model has another front end or architecture, or was trained on
        recordings that the dataset holds out.
    """
    path = path.rstrip("/")
    for name in ("saved_model.pb", contract.MODEL_INFO):
        if not files.exists(f"{path}/{name}"):
            raise IncompleteError(
                f"train.warm_start: {path} is not a finished model: {name} is missing. Give the "
                "folder that `nocturne train --model` wrote."
            )
    info, _ = read_model_info(path)
    if info["fingerprint"] != dataset.audio.fingerprint:
        raise ConfigMismatchError(
            f"train.warm_start: the front end of {path} is {info['fingerprint']}, the dataset's is "
            f"{dataset.audio.fingerprint}. {_REMEDY}, or prepare with the model's front end."
        )
    base_settings, new_settings = info["train"], settings.recorded()
    differences = [
        f"{name} is {base_settings.get(name)!r} there and {new_settings[name]!r} here"
        for name in _ARCHITECTURE
        if base_settings.get(name) != new_settings[name]
    ]
    if differences:
        raise ConfigMismatchError(
            f"train.warm_start: {path} has another architecture: {'; '.join(differences)}. "
            f"{_REMEDY}, or with its settings."
        )
    compared = _compare_splits(info["dataset"], dataset, path)
    return BaseModel(path=path, model_id=info["model_id"], splits_compared=compared)


def _compare_splits(base_dataset: dict[str, Any], dataset: Dataset, path: str) -> bool:
    """Returns whether the base model's dataset still exists to be compared.

    Raises:
      ConfigMismatchError: The base model was trained on recordings that the new dataset holds out.
    """
    if base_dataset["dataset_id"] == dataset.info["dataset_id"]:
        return True
    base_path = base_dataset["path"]
    if not files.exists(f"{base_path}/{contract.RECORDINGS}"):
        return False
    leaked = _recording_ids(base_path, contract.TRAIN) & _recording_ids(dataset.path, contract.EVAL)
    if leaked:
        raise ConfigMismatchError(
            f"train.warm_start: {path} learnt from {len(leaked)} of the recordings that "
            f"{dataset.path} holds out (such as {min(leaked)[:12]}), so no evaluation could be "
            f"trusted. {_REMEDY}, or prepare with --previous {base_path}, which keeps the splits."
        )
    return True


def _recording_ids(dataset: str, split: str) -> set[str]:
    return {row["recording_id"] for row in read_recordings(dataset, split)}

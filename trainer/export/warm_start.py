"""Going on from a trained model: with all that it learnt, its normalisation among it.

New weights for old inputs would be worth little: a frame that is normalised or whitened otherwise
means something else to the same LSTM. So the Transform graph travels in the model's folder, and a
warm start takes it, and all else that was measured before training, from there, not from the new
data.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from audio import contract
from audio.errors import ConfigMismatchError, IncompleteError
from storage import files
from storage.dataset_files import read_recordings
from trainer.data.windows import Dataset
from trainer.model.next_frame import NextFrameModel
from trainer.settings import TrainSettings

# What decides which weights there are, and what their inputs mean.
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
# Of the module that serving.py saves.
WEIGHTS = "all_weights"
_REMEDY = "Train without a warm start (train.warm_start='')"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaseModel:
    """A model to go on from.

    Attributes:
      path: its folder.
      model_id: of it.
      splits_compared: whether it is known that it was not trained on what is now held out; the
        dataset that it was trained on may be gone.
    """

    path: str
    model_id: str
    splits_compared: bool

    @property
    def transform_graph(self) -> str:
        """The folder of the Transform graph that its frames were normalised with."""
        return f"{self.path}/{contract.TRANSFORM_GRAPH}"

    def restore(self, model: NextFrameModel) -> None:
        """Gives a model the weights of this one, and what was measured for them.

        Raises:
          ConfigMismatchError: it has other weights.
        """
        weights = tf.train.Checkpoint(**{WEIGHTS: list(model.weights)})
        try:
            status = weights.read(f"{self.path}/variables/variables")
            status.assert_existing_objects_matched().expect_partial()
        except (AssertionError, ValueError, tf.errors.NotFoundError) as error:
            raise ConfigMismatchError(
                f"the weights in {self.path} are of a model that another version of Nocturne "
                f"built. {_REMEDY}."
            ) from error


def open_base_model(path: str, dataset: Dataset, settings: TrainSettings) -> BaseModel:
    """Opens a model to go on from, and checks that it fits.

    Args:
      path: a folder that the trainer exported.
      dataset: what will be learnt from.
      settings: of the run to be.

    Raises:
      IncompleteError: it is no whole model.
      ConfigMismatchError: it has another front end or architecture, or learnt from recordings that
        the dataset holds out.
    """
    path = path.rstrip("/")
    for name in ("saved_model.pb", contract.MODEL_INFO):
        if not files.exists(f"{path}/{name}"):
            raise IncompleteError(
                f"train.warm_start: {path} is not a finished model: {name} is missing. Give the "
                "folder that `nocturne train --model` wrote."
            )
    info = files.read_json(f"{path}/{contract.MODEL_INFO}")
    if info["fingerprint"] != dataset.audio.fingerprint:
        raise ConfigMismatchError(
            f"train.warm_start: the front end of {path} is {info['fingerprint']}, the dataset's is "
            f"{dataset.audio.fingerprint}. {_REMEDY}, or prepare with the model's front end."
        )
    theirs, ours = info["train"], settings.recorded()
    differing = [
        f"{name} is {theirs.get(name)!r} there and {ours[name]!r} here"
        for name in _ARCHITECTURE
        if theirs.get(name) != ours[name]
    ]
    if differing:
        raise ConfigMismatchError(
            f"train.warm_start: {path} has another architecture: {'; '.join(differing)}. {_REMEDY},"
            " or with its settings."
        )
    compared = _compare_splits(info["dataset"], dataset, path)
    return BaseModel(path=path, model_id=info["model_id"], splits_compared=compared)


def _compare_splits(learnt: dict[str, Any], dataset: Dataset, path: str) -> bool:
    """Whether both datasets were there to compare; refuses a model that knows what is held out."""
    if learnt["dataset_id"] == dataset.info["dataset_id"]:
        return True
    if not files.exists(f"{learnt['path']}/{contract.RECORDINGS}"):
        return False
    known = _recording_ids(learnt["path"], contract.TRAIN)
    leaked = known & _recording_ids(dataset.path, contract.EVAL)
    if leaked:
        raise ConfigMismatchError(
            f"train.warm_start: {path} learnt from {len(leaked)} of the recordings that "
            f"{dataset.path} holds out (such as {min(leaked)[:12]}): no evaluation could be "
            f"trusted. {_REMEDY}, or prepare with --previous {learnt['path']}, which keeps the "
            "splits."
        )
    return True


def _recording_ids(dataset: str, split: str) -> set[str]:
    return {row["recording_id"] for row in read_recordings(dataset, split)}

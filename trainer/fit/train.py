"""A run of training: a dataset and a Transform graph in, an exported model out."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from audio import contract
from audio.errors import OutputExistsError
from trainer.data.normaliser import Normaliser
from trainer.data.transform_graph import fit_transform_graph
from trainer.data.windows import (
    Dataset,
    eval_windows,
    has_windows,
    open_dataset,
    read_chunks,
    training_windows,
)
from trainer.export.saved_model import export_model
from trainer.export.warm_start import BaseModel, open_base_model
from trainer.fit.checkpoints import Checkpoints
from trainer.fit.devices import is_chief, resolve_strategy
from trainer.fit.run import Progress, Run
from trainer.fit.signals import catch_signals
from trainer.fit.steps import CompiledSteps
from trainer.fit.tensorboard import TensorBoardWriter
from trainer.model.next_frame import NextFrameModel
from trainer.settings import TrainSettings

# TFX's Trainer has no way to pass a function: run_fn takes this, and who runs the pipeline sets it.
listener: Progress | None = None


LOGS = "tensorboard"
# What a head is prepared with: at 32 windows of 128 frames, 50 minutes of sound.
_MEASURED_BATCHES = 32
# And how music departs from where it began: 3.4 hours at the default length of a stretch.
_MEASURED_STRETCHES = 512


def custom_config(dataset: Dataset, settings: TrainSettings) -> dict[str, Any]:
    """Returns what the Transform graph needs to know, see preprocessing_fn."""
    return {"n_mels": dataset.audio.n_mels, "model_floor": settings.model_floor}


def train(
    *,
    dataset_path: str,
    model_path: str,
    settings: TrainSettings,
    transform_graph: str | None = None,
    effective_config: str = "",
    progress: Progress | None = None,
    work_path: str | None = None,
) -> dict[str, Any]:
    """Trains a model on a dataset and exports it to model_path.

    With settings.warm_start it goes on from that model, and takes its Transform graph. A run that
    was stopped, by whatever, goes on from its last saved state.

    Args:
      dataset_path: a finished dataset.
      model_path: where the SavedModel goes; must not exist yet.
      settings: of the run.
      transform_graph: a fitted Transform graph; fitted here where there is none.
      effective_config: the whole configuration as YAML, kept in the model's folder.
      progress: called after every step.
      work_path: where the state of unfinished runs is kept; beside the model unless given.

    Returns:
      The content of the model's model_info.json; nothing in workers other than the first.

    Raises:
      IncompleteError, ConfigMismatchError, InputError: the dataset or the model to go on from
        cannot be used.
      OutputExistsError: model_path exists.
      TrainingDivergedError, PreemptedError, UnwritableError: see fit.
    """
    model_path = model_path.rstrip("/")
    if tf.io.gfile.exists(f"{model_path}/saved_model.pb"):
        raise OutputExistsError(
            f"{model_path} already holds a model. Choose another --model, or remove it."
        )
    dataset = open_dataset(dataset_path)
    base = open_base_model(settings.warm_start, dataset, settings) if settings.warm_start else None
    if base:
        transform_graph = base.transform_graph
    with tempfile.TemporaryDirectory() as temporary:
        if transform_graph is None:
            transform_graph = f"{temporary}/transform"
            fit_transform_graph(
                f"{dataset.path}/{contract.split_folder(contract.TRAIN)}/*",
                transform_graph,
                custom_config=custom_config(dataset, settings),
                temporary=f"{temporary}/beam",
            )
        normaliser = Normaliser.from_graph(transform_graph, floor=settings.model_floor)
        folder = (work_path or f"{model_path}.training").rstrip("/")
        work = f"{folder}/{run_key(dataset, normaliser, settings, base)}"
        model, history = fit(
            dataset, normaliser, settings, folder=work, base=base, progress=progress
        )
        if not is_chief():
            return {}
        info = export_model(
            model,
            path=model_path,
            dataset=dataset,
            transform_graph=transform_graph,
            settings=settings,
            history=history,
            effective_config=effective_config,
            base=base,
            logs=f"{work}/{LOGS}",
        )
    tf.io.gfile.rmtree(work)
    if work_path is None and not tf.io.gfile.listdir(f"{model_path}.training"):
        tf.io.gfile.rmtree(f"{model_path}.training")
    return info


def run_key(
    dataset: Dataset, normaliser: Normaliser, settings: TrainSettings, base: BaseModel | None = None
) -> str:
    """Returns 12 hex digits: what may go on from the same state."""
    vectors = (normaliser.mean, normaliser.std, normaliser.highest)
    frames = hashlib.sha256(np.stack(vectors).tobytes()).hexdigest()
    fields = dataclasses.asdict(settings)
    for name in ("strategy", "checkpoint_seconds", "warm_start"):
        del fields[name]
    known = [dataset.info["dataset_id"], dataset.audio.fingerprint, base.model_id if base else None]
    text = json.dumps([*known, frames, fields])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def fit(
    dataset: Dataset,
    normaliser: Normaliser,
    settings: TrainSettings,
    *,
    folder: str,
    base: BaseModel | None = None,
    watched: bool = True,
    progress: Progress | None = None,
    strategy: tf.distribute.Strategy | None = None,
) -> tuple[NextFrameModel, dict[str, Any]]:
    """Fits a model; returns it with its best weights, and the run's history.

    The history holds `epochs` (one row an evaluation: step, loss, and eval_loss where the eval
    split has windows) and `best`, the row whose weights the model has.

    Args:
      dataset: what to learn from.
      normaliser: fitted on its training split.
      settings: of the run.
      folder: where its state is kept; a run that finds some goes on from there.
      base: a model whose weights it begins with.
      watched: whether to write what TensorBoard shows.
      progress: called after every step, or every steps_per_execution of them.
      strategy: the devices; None for what settings.strategy names.

    Raises:
      InputError: the training split has no window.
      ConfigMismatchError: the base has other weights.
      TrainingDivergedError: the loss is no longer finite, or has exploded.
      PreemptedError: SIGTERM came; the state is saved.
      UnwritableError: the state cannot be saved.
    """
    keras.utils.set_random_seed(settings.seed)
    loop = CompiledSteps(
        strategy or resolve_strategy(settings.strategy), dataset.audio.n_mels, settings
    )
    checkpoints = Checkpoints(
        folder if is_chief() else tempfile.mkdtemp(), model=loop.model, optimizer=loop.optimizer
    )
    if base:
        base.restore(loop.model)
    else:
        measured = _windows(dataset, normaliser, settings, 0).take(_MEASURED_BATCHES)
        stretches = (
            read_chunks(dataset, contract.TRAIN).map(normaliser.apply).take(_MEASURED_STRETCHES)
        )
        loop.model.prepare(
            (batch.numpy() for batch in measured), (stretch.numpy() for stretch in stretches)
        )
    held_out = _held_out(dataset, normaliser, settings)
    run = Run(loop, checkpoints, settings, progress)
    watch = None
    if watched and is_chief():
        watch = TensorBoardWriter(f"{checkpoints.folder}/{LOGS}", dataset, normaliser)
    with catch_signals() as interrupts:
        while not run.finished:
            part, offset = divmod(run.state.step, settings.eval_every)
            batches = _windows(dataset, normaliser, settings, part).skip(offset)
            run.take_part(loop.distribute(batches), (part + 1) * settings.eval_every, interrupts)
            run.evaluate(held_out, watch)
            run.stop_for(interrupts)
    checkpoints.restore_best(run.state)
    some = held_out or _windows(dataset, normaliser, settings, 0).take(16)
    loop.model.head.calibrate(_mean_square(loop.model, some))
    return loop.model, run.history()


def _windows(
    dataset: Dataset, normaliser: Normaliser, settings: TrainSettings, part: int
) -> tf.data.Dataset:
    windows = training_windows(
        dataset,
        window_frames=settings.window_frames,
        anchor_frames=settings.anchor,
        batch_windows=settings.batch_windows,
        seed=settings.seed,
        part=part,
    )
    return windows.map(normaliser.apply)


def _held_out(
    dataset: Dataset, normaliser: Normaliser, settings: TrainSettings
) -> tf.data.Dataset | None:
    # The frames before a window are its anchor.
    n_frames = settings.anchor + settings.window_frames
    if not has_windows(dataset, contract.EVAL, n_frames):
        return None
    windows = eval_windows(
        dataset,
        split=contract.EVAL,
        window_frames=n_frames,
        batch_windows=settings.batch_windows,
    )
    return windows.map(normaliser.apply)


def _mean_square(model: NextFrameModel, batches: tf.data.Dataset) -> tf.Tensor:
    """Returns the mean squared error of each band, float32 [n_mels]."""
    total, count = np.zeros(model.n_mels), 0
    for batch in batches:
        wanted = batch[:, model.anchor_frames + 1 :]
        error = np.square(model.head.mean(model(batch[:, :-1])) - wanted)
        total += error.sum(axis=(0, 1), dtype=np.float64)
        count += error.shape[0] * error.shape[1]
    return tf.constant(total / count, tf.float32)

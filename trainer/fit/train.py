"""Training: from a dataset and a Transform graph to an exported model."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from audio import contract
from audio.errors import OutputExistsError
from storage import faults, files
from storage.locks import exclusive
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
from trainer.fit.run import Progress, TrainingRun
from trainer.fit.signals import catch_signals
from trainer.fit.steps import CompiledSteps
from trainer.fit.tensorboard import TensorBoardWriter
from trainer.model.next_frame import NextFrameModel
from trainer.settings import TrainSettings

# Progress function for run_fn, set by whoever runs the pipeline: TFX's Trainer cannot pass one.
listener: Progress | None = None

# Folder of the TensorBoard files below that of a run's state.
LOGS = "tensorboard"
# Batches on which the layers' statistics are measured: 50 minutes of sound at the defaults.
_ADAPT_BATCHES = 32
# Chunks on which the drift of style is measured: 3.4 hours at the default length.
_ADAPT_CHUNKS = 512


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

    With settings.warm_start, training continues from that model and uses its Transform graph. A run
    that was stopped for any reason resumes from its last saved state.

    Args:
      dataset_path: A finished dataset.
      model_path: Folder for the SavedModel; must not hold a model yet.
      settings: Settings of the training run.
      transform_graph: A fitted Transform graph; fitted here by default.
      effective_config: The whole configuration as YAML, kept in the model's folder.
      progress: Called after every step.
      work_path: Folder for the state of unfinished runs; by default next to the model.

    Returns:
      The content of model_info.json; empty in all workers but the chief.

    Raises:
      IncompleteError, ConfigMismatchError, InputError: The dataset or the model to continue from
        cannot be used.
      OutputExistsError: model_path holds a model.
      BusyError: Another process trains to model_path.
      TrainingDivergedError, PreemptedError, UnwritableError: See fit.
    """
    model_path = model_path.rstrip("/")
    if tf.io.gfile.exists(f"{model_path}/saved_model.pb"):
        raise OutputExistsError(
            f"{model_path} already holds a model. Choose another --model, or remove it."
        )
    states = (work_path or f"{model_path}.training").rstrip("/")
    with contextlib.ExitStack() as held:
        if is_chief() and work_path is None:
            held.enter_context(exclusive(states))
        held.enter_context(faults.named(model_path))
        dataset = open_dataset(dataset_path)
        base = None
        if settings.warm_start:
            base = open_base_model(settings.warm_start, dataset, settings)
            transform_graph = base.transform_graph
        temporary = held.enter_context(tempfile.TemporaryDirectory())
        folder = held.enter_context(files.plain_path(temporary))
        records = held.enter_context(files.plain_path(dataset.path))
        if transform_graph is None:
            transform_graph = f"{folder}/transform"
            fit_transform_graph(
                f"{records}/{contract.split_folder(contract.TRAIN)}/*",
                transform_graph,
                custom_config={
                    "n_mels": dataset.audio.n_mels,
                    "model_floor": settings.model_floor,
                },
                temporary=f"{folder}/beam",
            )
        normaliser = Normaliser.from_graph(transform_graph, floor=settings.model_floor)
        work = f"{states}/{run_key(dataset, normaliser, settings, base)}"
        if is_chief() and work_path is not None:
            # In a pipeline, each run has a model path of its own, but runs share their work path.
            held.enter_context(exclusive(f"{work}.lock"))
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
    if work_path is None and tf.io.gfile.exists(states) and not tf.io.gfile.listdir(states):
        tf.io.gfile.rmtree(states)
    return info


def run_key(
    dataset: Dataset, normaliser: Normaliser, settings: TrainSettings, base: BaseModel | None = None
) -> str:
    """Returns 12 hex digits that are equal for runs that may resume from each other's state."""
    vectors = (normaliser.mean, normaliser.std, normaliser.highest)
    normalisation = hashlib.sha256(np.stack(vectors).tobytes()).hexdigest()
    fields = dataclasses.asdict(settings)
    for name in ("strategy", "checkpoint_seconds", "warm_start"):
        del fields[name]
    ids = [dataset.info["dataset_id"], dataset.audio.fingerprint, base.model_id if base else None]
    text = json.dumps([*ids, normalisation, fields])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def fit(
    dataset: Dataset,
    normaliser: Normaliser,
    settings: TrainSettings,
    *,
    folder: str,
    base: BaseModel | None = None,
    write_logs: bool = True,
    progress: Progress | None = None,
    strategy: tf.distribute.Strategy | None = None,
) -> tuple[NextFrameModel, dict[str, Any]]:
    """Fits a model; returns it with its best weights, and the history of the run.

    The history holds `epochs` (one row for each evaluation: step, loss, and eval_loss if the eval
    split has windows), `best` (the row whose weights the model has) and times.

    Args:
      dataset: Dataset to train on.
      normaliser: Normaliser fitted on its training split.
      settings: Settings of the training run.
      folder: Folder for the state; a run that finds a state there resumes from it.
      base: Model whose weights the training starts with.
      write_logs: Whether to write TensorBoard files.
      progress: Called after every step, or every steps_per_execution of them.
      strategy: Devices; by default those that settings.strategy names.

    Raises:
      InputError: The training split has no window.
      ConfigMismatchError: The base model has other weights.
      TrainingDivergedError: The loss is not finite, or has exploded.
      PreemptedError: SIGTERM came; the state is saved.
      UnwritableError: The state cannot be saved.
    """
    keras.utils.set_random_seed(settings.seed)
    strategy = strategy or resolve_strategy(settings.strategy)
    steps = CompiledSteps(strategy, dataset.audio.n_mels, settings)
    checkpoints = Checkpoints(
        folder if is_chief() else tempfile.mkdtemp(), model=steps.model, optimizer=steps.optimizer
    )
    if base:
        base.restore(steps.model)
    else:
        _adapt(steps.model, dataset, normaliser, settings)
    held_out = _held_out(dataset, normaliser, settings)
    run = TrainingRun(steps, checkpoints, settings, progress)
    writer = None
    if write_logs and is_chief():
        writer = TensorBoardWriter(f"{checkpoints.folder}/{LOGS}", dataset, normaliser)
    with catch_signals() as signals:
        while not run.finished:
            part, offset = divmod(run.state.step, settings.eval_every)
            windows = steps.distribute(_windows(dataset, normaliser, settings, part).skip(offset))
            run.train_until((part + 1) * settings.eval_every, windows, signals)
            run.evaluate(held_out, writer)
            run.stop_if_signalled(signals)
    checkpoints.restore_best(run.state)
    windows = held_out or _windows(dataset, normaliser, settings, 0).take(16)
    steps.model.head.calibrate(_mean_square(steps.model, windows))
    return steps.model, run.history()


def train_in_memory(
    dataset: Dataset, normaliser: Normaliser, settings: TrainSettings, *, pauses: Sequence[int]
) -> Iterator[NextFrameModel]:
    """Trains a model without saving anything, and yields it after given numbers of steps.

    The model is the same object each time; its weights change while the iteration continues.

    Args:
      dataset: Dataset to train on.
      normaliser: Normaliser of the model.
      settings: Settings of the run; the learning rate follows its whole number of steps.
      pauses: Numbers of steps, ascending; 0 yields the model before training.
    """
    keras.utils.set_random_seed(settings.seed)
    steps = CompiledSteps(resolve_strategy(settings.strategy), dataset.audio.n_mels, settings)
    _adapt(steps.model, dataset, normaliser, settings)
    held_out = _held_out(dataset, normaliser, settings)
    windows = iter(steps.distribute(_windows(dataset, normaliser, settings, 0).repeat()))
    step = 0
    for pause in pauses:
        while step < pause:
            step += 1
            steps.train_step(next(windows), tf.constant(step, tf.int64))
        if held_out is not None:
            steps.model.head.calibrate(_mean_square(steps.model, held_out))
        yield steps.model


def _adapt(
    model: NextFrameModel, dataset: Dataset, normaliser: Normaliser, settings: TrainSettings
) -> None:
    """Measures on the training split what the layers of a new model need to know of the music."""
    windows = _windows(dataset, normaliser, settings, 0).take(_ADAPT_BATCHES)
    chunks = read_chunks(dataset, contract.TRAIN).map(normaliser.apply).take(_ADAPT_CHUNKS)
    model.adapt(windows.as_numpy_iterator(), chunks.as_numpy_iterator())


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
    """Returns the held-out windows, each with the frames before it as its anchor, if any."""
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
    """Returns the mean squared error of each band in normalised units, float32 [n_mels]."""
    total, count = np.zeros(model.n_mels), 0
    for batch in batches:
        next_frames = batch[:, model.anchor_frames + 1 :]
        error = np.square(model.head.mean(model(batch[:, :-1])) - next_frames)
        total += error.sum(axis=(0, 1), dtype=np.float64)
        count += error.shape[0] * error.shape[1]
    return tf.constant(total / count, tf.float32)

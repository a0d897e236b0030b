"""A run of training: a dataset and a Transform graph in, an exported model out."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from audio import contract
from audio.errors import NocturneError, OutputExistsError
from trainer.checkpoints import Checkpoints
from trainer.dataset import Dataset, eval_windows, has_windows, open_dataset, training_windows
from trainer.interrupts import Interrupts, noticed
from trainer.loop import TrainingLoop
from trainer.model import NextFrameModel
from trainer.normalise import Normaliser, from_graph
from trainer.preprocessing import fit_transform_graph
from trainer.serving import export_model
from trainer.settings import TrainSettings
from trainer.strategy import is_chief, resolve_strategy
from trainer.watch import Watch

# Called after every optimiser step: steps done, steps in all, the loss of the step.
Progress = Callable[[int, int, float], None]

# TFX's Trainer has no way to pass a function: run_fn takes this, and who runs the pipeline sets it.
listener: Progress | None = None


LOGS = "tensorboard"
# No loss here is beyond some hundreds; what is will not come back.
_EXPLODED = 1e6
# What a head is prepared with: at 32 windows of 128 frames, 50 minutes of sound.
_MEASURED_BATCHES = 32


class TrainingDivergedError(NocturneError):
    """The loss became NaN or infinite, or exploded."""

    exit_code = 10


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

    A run that was stopped, by whatever, goes on from its last saved state.

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
      IncompleteError, ConfigMismatchError, InputError: the dataset cannot be used.
      OutputExistsError: model_path exists.
      TrainingDivergedError, PreemptedError, UnwritableError: see fit.
    """
    model_path = model_path.rstrip("/")
    if tf.io.gfile.exists(f"{model_path}/saved_model.pb"):
        raise OutputExistsError(
            f"{model_path} already holds a model. Choose another --model, or remove it."
        )
    dataset = open_dataset(dataset_path)
    with tempfile.TemporaryDirectory() as temporary:
        if transform_graph is None:
            transform_graph = f"{temporary}/transform"
            fit_transform_graph(
                f"{dataset.path}/{contract.split_folder(contract.TRAIN)}/*",
                transform_graph,
                custom_config=custom_config(dataset, settings),
                temporary=f"{temporary}/beam",
            )
        normaliser = from_graph(transform_graph, floor=settings.model_floor)
        folder = (work_path or f"{model_path}.training").rstrip("/")
        work = f"{folder}/{_run_key(dataset, normaliser, settings)}"
        model, history = fit(dataset, normaliser, settings, folder=work, progress=progress)
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
            logs=f"{work}/{LOGS}",
        )
    tf.io.gfile.rmtree(work)
    if work_path is None and not tf.io.gfile.listdir(f"{model_path}.training"):
        tf.io.gfile.rmtree(f"{model_path}.training")
    return info


def _run_key(dataset: Dataset, normaliser: Normaliser, settings: TrainSettings) -> str:
    """Returns 12 hex digits: what may go on from the same state."""
    vectors = (normaliser.mean, normaliser.std, normaliser.highest)
    frames = hashlib.sha256(np.stack(vectors).tobytes()).hexdigest()
    fields = dataclasses.asdict(settings)
    for name in ("strategy", "checkpoint_seconds", "steps_per_execution"):
        del fields[name]
    text = json.dumps([dataset.info["dataset_id"], dataset.audio.fingerprint, frames, fields])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def fit(
    dataset: Dataset,
    normaliser: Normaliser,
    settings: TrainSettings,
    *,
    folder: str,
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
      progress: called after every step, or every steps_per_execution of them.
      strategy: the devices; None for what settings.strategy names.

    Raises:
      InputError: the training split has no window.
      TrainingDivergedError: the loss is no longer finite, or has exploded.
      PreemptedError: SIGTERM came; the state is saved.
      UnwritableError: the state cannot be saved.
    """
    keras.utils.set_random_seed(settings.seed)
    loop = TrainingLoop(
        strategy or resolve_strategy(settings.strategy), dataset.audio.n_mels, settings
    )
    checkpoints = Checkpoints(
        folder if is_chief() else tempfile.mkdtemp(), model=loop.model, optimizer=loop.optimizer
    )
    measured = _windows(dataset, normaliser, settings, 0).take(_MEASURED_BATCHES)
    loop.model.prepare(batch.numpy() for batch in measured)
    held_out = _held_out(dataset, normaliser, settings)
    run = _Run(loop, checkpoints, settings, progress)
    watch = Watch(f"{checkpoints.folder}/{LOGS}", dataset, normaliser) if is_chief() else None
    with noticed() as interrupts:
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


class _Run:
    """A run under way: its state, and what changes it."""

    def __init__(
        self,
        loop: TrainingLoop,
        checkpoints: Checkpoints,
        settings: TrainSettings,
        progress: Progress | None,
    ) -> None:
        self._loop, self._checkpoints = loop, checkpoints
        self._settings, self._progress = settings, progress
        self.state = checkpoints.restore()
        self._attempted = time.perf_counter()
        self._started = self._attempted - self.state.seconds
        self._saved = time.perf_counter()
        self._waited = 0.0
        self._norms: list[float] = []
        self._first_step: float | None = None

    @property
    def finished(self) -> bool:
        """Whether all steps are taken, or patience is at an end."""
        rows, patience = self.state.rows, self._settings.patience
        if self.state.step >= self._settings.steps:
            return True
        late = [row for row in rows if row["step"] > self.state.best.get("step", 0)]
        return bool(patience and len(late) >= patience)

    def take_part(self, batches: Any, end: int, interrupts: Interrupts) -> None:
        """Takes the steps up to `end`; saves in between, and when a signal came.

        Raises:
          TrainingDivergedError, PreemptedError, UnwritableError: see fit.
        """
        end = min(end, self._settings.steps)
        iterator = iter(batches)
        while self.state.step < end:
            self._take(iterator, min(self._settings.steps_per_execution, end - self.state.step))
            # A part's last step is evaluated before anything else: a rerun begins with the next.
            if interrupts.received is not None and self.state.step < end:
                self._save()
                self.stop_for(interrupts)
            due = time.perf_counter() - self._saved > self._settings.checkpoint_seconds
            if due and self.state.step < end:
                self._save()

    def stop_for(self, interrupts: Interrupts) -> None:
        """Ends the run where a signal came; its state is saved.

        Raises:
          PreemptedError, KeyboardInterrupt: as the signal wants.
        """
        if interrupts.received is not None:
            interrupts.raise_for(
                f"stopped at step {self.state.step} of {self._settings.steps}, which is saved. "
                "Run the same command again to go on from there."
            )

    def _take(self, iterator: Any, count: int) -> None:
        first = tf.constant(self.state.step + 1, tf.int64)
        if count == 1:
            asked = time.perf_counter()
            batch = next(iterator)
            self._waited += time.perf_counter() - asked
            loss, norm = self._loop.train_step(batch, first)
            losses, norms = [float(loss)], [float(norm)]
        else:
            taken = self._loop.train_steps(iterator, first, tf.constant(count))
            losses, norms = ([float(x) for x in each] for each in taken)
        if self._first_step is None:
            self._first_step = time.perf_counter() - self._attempted
        for loss in losses:
            self.state.step += 1
            self._check(loss)
            self.state.losses.append(loss)
        self._norms += norms
        if self._progress:
            self._progress(self.state.step, self._settings.steps, losses[-1])

    def _check(self, loss: float) -> None:
        if np.isfinite(loss) and abs(loss) < _EXPLODED:
            return
        good = self.state.rows[-1]["step"] if self.state.rows else 0
        raise TrainingDivergedError(
            f"the loss became {loss:.4g} at step {self.state.step}. Lower train.learning_rate or "
            f"train.clip_norm. The last good state, of step {good}, is in "
            f"{self._checkpoints.folder}."
        )

    def evaluate(self, held_out: tf.data.Dataset | None, watch: Watch | None) -> None:
        """Adds a row, keeps the weights where they are the best, and saves."""
        state = self.state
        row = {"step": state.step, "loss": float(np.mean(state.losses))}
        if held_out is not None:
            row["eval_loss"] = self._loop.evaluate(held_out)
        state.rows.append(row)
        state.losses.clear()
        if not state.best or _judged(row) <= _judged(state.best):
            state.best = row
            self._checkpoints.save_best(state.step)
        if watch:
            rates = {"gradient_norm": float(np.mean(self._norms))} if self._norms else {}
            rate = float(self._loop.optimizer.learning_rate)
            watch.show(self._loop.model, {**row, **rates, "learning_rate": rate})
        self._norms.clear()
        self._save()

    def _save(self) -> None:
        self.state.seconds = time.perf_counter() - self._started
        self._checkpoints.save(self.state)
        self._saved = time.perf_counter()

    def history(self) -> dict[str, Any]:
        """Returns what history.json holds."""
        now = time.perf_counter()
        return {
            "epochs": self.state.rows,
            "best": self.state.best,
            "seconds": round(now - self._started, 1),
            "seconds_to_first_step": round(self._first_step or 0.0, 1),
            "share_waiting_for_input": round(self._waited / (now - self._attempted), 4),
            "steps": self.state.step,
            "devices": self._loop.n_devices,
        }


def _mean_square(model: NextFrameModel, batches: tf.data.Dataset) -> tf.Tensor:
    """Returns the mean squared error of each band, float32 [n_mels]."""
    total, count = np.zeros(model.n_mels), 0
    for batch in batches:
        wanted = batch[:, model.anchor_frames + 1 :]
        error = np.square(model.head.mean(model(batch[:, :-1])) - wanted)
        total += error.sum(axis=(0, 1), dtype=np.float64)
        count += error.shape[0] * error.shape[1]
    return tf.constant(total / count, tf.float32)


def _judged(row: dict[str, float]) -> float:
    return row.get("eval_loss", row["loss"])

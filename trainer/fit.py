"""The training loop: a dataset and a Transform graph in, an exported model out."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from audio import contract
from audio.errors import NocturneError, OutputExistsError
from trainer.dataset import Dataset, eval_windows, has_windows, open_dataset, training_windows
from trainer.model import NextFrameModel
from trainer.normalise import Normaliser, from_graph
from trainer.preprocessing import fit_transform_graph
from trainer.serving import export_model
from trainer.settings import TrainSettings
from trainer.strategy import resolve_strategy

# Called after every optimiser step: steps done, steps in all, the loss of the step.
Progress = Callable[[int, int, float], None]

# TFX's Trainer has no way to pass a function: run_fn takes this, and who runs the pipeline sets it.
listener: Progress | None = None


class TrainingDivergedError(NocturneError):
    """The loss became NaN or infinite."""

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
) -> dict[str, Any]:
    """Trains a model on a dataset and exports it to model_path.

    Args:
      dataset_path: a finished dataset.
      model_path: where the SavedModel goes; must not exist yet.
      settings: of the run.
      transform_graph: a fitted Transform graph; fitted here where there is none.
      effective_config: the whole configuration as YAML, kept in the model's folder.
      progress: called after every step.

    Returns:
      The content of the model's model_info.json.

    Raises:
      IncompleteError, ConfigMismatchError, InputError: the dataset cannot be used.
      OutputExistsError: model_path exists.
      TrainingDivergedError: the loss is no longer finite.
    """
    if tf.io.gfile.exists(f"{model_path.rstrip('/')}/saved_model.pb"):
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
        model, history = fit(dataset, normaliser, settings, progress=progress)
        return export_model(
            model,
            path=model_path,
            dataset=dataset,
            transform_graph=transform_graph,
            settings=settings,
            history=history,
            effective_config=effective_config,
        )


def fit(
    dataset: Dataset,
    normaliser: Normaliser,
    settings: TrainSettings,
    *,
    progress: Progress | None = None,
) -> tuple[NextFrameModel, dict[str, Any]]:
    """Fits a model; returns it with its best weights, and the run's history.

    The history holds `epochs` (one row a stretch of eval_every steps: step, loss, and eval_loss
    where the eval split has windows) and `best`, the row whose weights the model has.

    Raises:
      InputError: the training split has no window.
      TrainingDivergedError: the loss is no longer finite.
    """
    keras.utils.set_random_seed(settings.seed)
    started = time.perf_counter()
    windows = {"window_frames": settings.window_frames, "batch_windows": settings.batch_windows}
    batches = training_windows(dataset, seed=settings.seed, **windows).map(normaliser.apply)
    held_out = None
    if has_windows(dataset, contract.EVAL, settings.window_frames):
        held_out = eval_windows(dataset, split=contract.EVAL, **windows).map(normaliser.apply)
    loop = _Loop(resolve_strategy(settings.strategy), dataset.audio.n_mels, settings)
    rows: list[dict[str, float]] = []
    best: dict[str, float] = {}
    weights: list[np.ndarray] = []
    losses: list[float] = []
    for step, batch in enumerate(loop.distribute(batches), start=1):
        losses.append(_finite(float(loop.train_step(batch)), step))
        if progress:
            progress(step, settings.steps, losses[-1])
        if step % settings.eval_every and step < settings.steps:
            continue
        row = {"step": step, "loss": float(np.mean(losses))}
        if held_out is not None:
            row["eval_loss"] = loop.evaluate(held_out)
        rows.append(row)
        losses.clear()
        if not best or _judged(row) <= _judged(best):
            best, weights = row, loop.model.get_weights()
        if step == settings.steps:
            break
    loop.model.set_weights(weights)
    loop.model.head.calibrate(_mean_square(loop.model, held_out or batches.take(16)))
    history = {
        "epochs": rows,
        "best": best,
        "seconds": round(time.perf_counter() - started, 1),
        "steps": settings.steps,
        "devices": loop.n_devices,
    }
    return loop.model, history


class _Loop:
    """The model, its optimiser and the two compiled steps, on the devices of a strategy."""

    def __init__(
        self, strategy: tf.distribute.Strategy, n_mels: int, settings: TrainSettings
    ) -> None:
        self._strategy, self._input_noise = strategy, settings.input_noise
        with strategy.scope():
            self.model = NextFrameModel(n_mels=n_mels, settings=settings)
            self._optimizer = _optimizer(settings)
            self._optimizer.build(self.model.trainable_variables)
        self._eval_step = tf.function(
            self._eval_losses, input_signature=[tf.TensorSpec([None, None, n_mels], tf.float32)]
        )

    @property
    def n_devices(self) -> int:
        """Devices that share each batch."""
        return int(self._strategy.num_replicas_in_sync)

    def distribute(self, batches: tf.data.Dataset) -> Any:
        """Returns batches cut for the devices."""
        if self.n_devices == 1:
            return batches
        return self._strategy.experimental_distribute_dataset(batches)

    @tf.function
    def train_step(self, batch: tf.Tensor) -> tf.Tensor:
        """Takes one optimiser step on normalised windows; returns the loss."""
        losses = self._strategy.run(self._train_on_device, args=(batch,))
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    def _train_on_device(self, batch: tf.Tensor) -> tf.Tensor:
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            heard = batch[:, :-1]
            heard += self._input_noise * tf.random.normal(tf.shape(heard))
            outputs = self.model(heard, training=True)
            loss = tf.reduce_mean(self.model.head.loss(outputs, batch[:, 1:])) / self.n_devices
        self._optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    def _eval_losses(self, batch: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each window, float32 [batch]."""
        outputs = self.model(batch[:, :-1])
        return tf.reduce_mean(self.model.head.loss(outputs, batch[:, 1:]), axis=1)

    def evaluate(self, batches: tf.data.Dataset) -> float:
        """Returns the mean loss over normalised windows."""
        return float(np.mean(np.concatenate([self._eval_step(batch) for batch in batches])))


def _optimizer(settings: TrainSettings) -> keras.optimizers.Optimizer:
    warm_up = max(1, settings.steps // 20)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=max(1, settings.steps - warm_up),
        warmup_target=settings.learning_rate,
        warmup_steps=warm_up,
        alpha=0.02,
    )
    return keras.optimizers.Adam(schedule, global_clipnorm=settings.clip_norm)


def _mean_square(model: NextFrameModel, batches: tf.data.Dataset) -> tf.Tensor:
    """Returns the mean squared error of each band, float32 [n_mels]."""
    total, count = np.zeros(model.n_mels), 0
    for batch in batches:
        error = np.square(model.head.mean(model(batch[:, :-1])) - batch[:, 1:])
        total += error.sum(axis=(0, 1), dtype=np.float64)
        count += error.shape[0] * error.shape[1]
    return tf.constant(total / count, tf.float32)


def _finite(loss: float, step: int) -> float:
    if not np.isfinite(loss):
        raise TrainingDivergedError(
            f"the loss became {loss} at step {step}. Lower train.learning_rate or train.clip_norm."
        )
    return loss


def _judged(row: dict[str, float]) -> float:
    return row.get("eval_loss", row["loss"])

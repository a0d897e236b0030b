"""A training run in progress: its state, and the steps, evaluations and saves that change it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from audio.errors import NocturneError
from trainer.fit.checkpoints import Checkpoints
from trainer.fit.signals import SignalCatcher
from trainer.fit.steps import CompiledSteps
from trainer.fit.tensorboard import TensorBoardWriter
from trainer.settings import TrainSettings

# Called after every optimiser step with the steps done, all steps, and the loss of the step.
Progress = Callable[[int, int, float], None]

# A loss beyond this will not recover; usual ones stay below some hundreds.
_EXPLODED_LOSS = 1e6


class TrainingDivergedError(NocturneError):
    """The loss became NaN or infinite, or exploded."""

    exit_code = 10


class TrainingRun:
    """A training run in progress; it resumes from the state that its checkpoints hold."""

    def __init__(
        self,
        steps: CompiledSteps,
        checkpoints: Checkpoints,
        settings: TrainSettings,
        progress: Progress | None,
    ) -> None:
        self._compiled, self._checkpoints = steps, checkpoints
        self._settings, self._progress = settings, progress
        self.state = checkpoints.restore()
        # Times of this attempt and, with the seconds of earlier attempts, of the whole run.
        self._attempt_start = time.perf_counter()
        self._run_start = self._attempt_start - self.state.seconds
        self._last_save = time.perf_counter()
        self._seconds_waited = 0.0
        self._seconds_to_first_step: float | None = None
        self._norms: list[float] = []

    @property
    def finished(self) -> bool:
        """Whether all steps are taken, or patience has run out."""
        rows, patience = self.state.rows, self._settings.patience
        if self.state.step >= self._settings.steps:
            return True
        worse = [row for row in rows if row["step"] > self.state.best.get("step", 0)]
        return bool(patience and len(worse) >= patience)

    def train_until(self, end: int, batches: Any, signals: SignalCatcher) -> None:
        """Takes the steps up to `end`; saves when it is time to, or when a signal came.

        Raises:
          TrainingDivergedError, PreemptedError, UnwritableError: See train.fit.
        """
        end = min(end, self._settings.steps)
        iterator = iter(batches)
        while self.state.step < end:
            self._steps(iterator, min(self._settings.steps_per_execution, end - self.state.step))
            if self.state.step == end:
                return  # The caller evaluates before anything is saved; a rerun starts after that.
            seconds = time.perf_counter() - self._last_save
            if signals.received is not None or seconds > self._settings.checkpoint_seconds:
                self._save()
                self.stop_if_signalled(signals)

    def stop_if_signalled(self, signals: SignalCatcher) -> None:
        """Ends a run whose state is saved, if a signal came.

        Raises:
          PreemptedError, KeyboardInterrupt: For SIGTERM and Ctrl-C.
        """
        signals.raise_if_received(
            f"stopped at step {self.state.step} of {self._settings.steps}, which is saved. "
            "Run the same command again to continue from there."
        )

    def _steps(self, iterator: Any, count: int) -> None:
        first = tf.constant(self.state.step + 1, tf.int64)
        if count == 1:
            wait_start = time.perf_counter()
            batch = next(iterator)
            self._seconds_waited += time.perf_counter() - wait_start
            loss, norm = self._compiled.train_step(batch, first)
            losses, norms = [float(loss)], [float(norm)]
        else:
            results = self._compiled.train_steps(iterator, first, tf.constant(count))
            losses, norms = ([float(value) for value in values] for values in results)
        if self._seconds_to_first_step is None:
            self._seconds_to_first_step = time.perf_counter() - self._attempt_start
        for loss in losses:
            self.state.step += 1
            self._check(loss)
            self.state.losses.append(loss)
        self._norms += norms
        if self._progress:
            self._progress(self.state.step, self._settings.steps, losses[-1])

    def _check(self, loss: float) -> None:
        if np.isfinite(loss) and abs(loss) < _EXPLODED_LOSS:
            return
        last_good = self.state.rows[-1]["step"] if self.state.rows else 0
        raise TrainingDivergedError(
            f"the loss became {loss:.4g} at step {self.state.step}. Lower train.learning_rate. "
            f"The last good state, of step {last_good}, is in {self._checkpoints.folder}."
        )

    def evaluate(self, held_out: tf.data.Dataset | None, writer: TensorBoardWriter | None) -> None:
        """Adds a row to the history, keeps the weights if they are the best, and saves."""
        state = self.state
        row = {"step": state.step, "loss": float(np.mean(state.losses))}
        if held_out is not None:
            row["eval_loss"] = self._compiled.evaluate(held_out)
        state.rows.append(row)
        state.losses.clear()
        if not state.best or _selection_loss(row) <= _selection_loss(state.best):
            state.best = row
            self._checkpoints.save_best(state.step)
        if writer:
            norm = {"gradient_norm": float(np.mean(self._norms))} if self._norms else {}
            rate = float(self._compiled.optimizer.learning_rate)
            writer.write(self._compiled.model, {**row, **norm, "learning_rate": rate})
        self._norms.clear()
        self._save()

    def _save(self) -> None:
        self.state.seconds = time.perf_counter() - self._run_start
        self._checkpoints.save(self.state)
        self._last_save = time.perf_counter()

    def history(self) -> dict[str, Any]:
        """Returns the content of history.json."""
        now = time.perf_counter()
        return {
            "epochs": self.state.rows,
            "best": self.state.best,
            "seconds": round(now - self._run_start, 1),
            "seconds_to_first_step": round(self._seconds_to_first_step or 0.0, 1),
            "share_waiting_for_input": round(self._seconds_waited / (now - self._attempt_start), 4),
            "steps": self.state.step,
            "devices": self._compiled.n_devices,
        }


def _selection_loss(row: dict[str, float]) -> float:
    """Returns the loss by which the best weights are chosen."""
    return row.get("eval_loss", row["loss"])

"""A training run under way: its state, and what changes it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from audio.errors import NocturneError
from trainer.fit.checkpoints import Checkpoints
from trainer.fit.signals import Interrupts
from trainer.fit.steps import CompiledSteps
from trainer.fit.tensorboard import TensorBoardWriter
from trainer.settings import TrainSettings

# Called after every optimiser step: steps done, steps in all, the loss of the step.
Progress = Callable[[int, int, float], None]

# No loss here is beyond some hundreds; what is will not come back.
_EXPLODED = 1e6


class TrainingDivergedError(NocturneError):
    """The loss became NaN or infinite, or exploded."""

    exit_code = 10


class Run:
    """A run under way: its state, and what changes it."""

    def __init__(
        self,
        loop: CompiledSteps,
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
            f"the loss became {loss:.4g} at step {self.state.step}. Lower train.learning_rate. "
            f"The last good state, of step {good}, is in {self._checkpoints.folder}."
        )

    def evaluate(self, held_out: tf.data.Dataset | None, watch: TensorBoardWriter | None) -> None:
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


def _judged(row: dict[str, float]) -> float:
    return row.get("eval_loss", row["loss"])

"""State of a training run on disk, from which a rerun resumes at the last saved step.

    FOLDER/step-00000400.index ...   weights and optimiser
    FOLDER/best-00000400.index ...   weights of the best evaluation so far
    FOLDER/state.json                which of these count, and the losses since; written last

The data needs no file: a batch depends only on the seed and the step.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from audio.errors import ConfigMismatchError, MachineError, UnwritableError
from storage import faults, files
from storage.outputs import open_output

_STATE = "state.json"


@dataclasses.dataclass(kw_only=True)
class RunState:
    """The progress of a training run.

    Attributes:
      step: Optimiser steps taken.
      rows: One row for each evaluation, as in history.json.
      best: The row whose weights are kept; empty before the first evaluation.
      losses: Losses of the steps since the last evaluation.
      seconds: Time spent on training so far, over all attempts.
    """

    step: int = 0
    rows: list[dict[str, float]] = dataclasses.field(default_factory=list)
    best: dict[str, float] = dataclasses.field(default_factory=dict)
    losses: list[float] = dataclasses.field(default_factory=list)
    seconds: float = 0.0


class Checkpoints:
    """The folder with the state of one training run.

    Args:
      folder: Local or gs://; a run with other settings needs another folder.
      model: The model whose weights are saved.
      optimizer: The optimiser whose state is saved.
    """

    def __init__(self, folder: str, *, model: Any, optimizer: Any) -> None:
        self.folder = folder.rstrip("/")
        self._output = open_output(self.folder)
        # As lists, because Keras does not track layers that a model keeps in a list.
        weights, moments = list(model.weights), list(optimizer.variables)
        self._all = tf.train.Checkpoint(weights=weights, optimizer=moments)
        self._weights = tf.train.Checkpoint(weights=weights)

    def restore(self) -> RunState:
        """Restores weights and optimiser of the last attempt, and returns its state.

        A run that never started, or was killed before its first checkpoint, starts at step 0.

        Raises:
          ConfigMismatchError: The state belongs to a model with other weights.
        """
        with _write_errors(self.folder):
            content = self._output.read(_STATE)
        if content is None:
            return RunState()
        state = RunState(**json.loads(content))
        try:
            with files.plain_path(self.folder) as folder:
                self._all.read(_path(folder, "step", state.step)).assert_consumed()
        except (AssertionError, ValueError) as error:
            raise ConfigMismatchError(
                f"the state in {self.folder} was written by another version of Nocturne, whose "
                "model has other layers. Remove that folder to start again, or finish the run with "
                "that version."
            ) from error
        return state

    def save(self, state: RunState) -> None:
        """Writes weights and optimiser, then the state, which replaces the one before."""
        with _write_errors(self.folder):
            tf.io.gfile.makedirs(self.folder)
            with files.plain_path(self.folder) as folder:
                self._all.write(_path(folder, "step", state.step))
            self._write_state(state)
            self._remove_others("step", state.step)

    def save_best(self, step: int) -> None:
        """Writes the weights as the best so far; they count after `save` has named them."""
        with _write_errors(self.folder):
            tf.io.gfile.makedirs(self.folder)
            with files.plain_path(self.folder) as folder:
                self._weights.write(_path(folder, "best", step))

    def restore_best(self, state: RunState) -> None:
        """Gives the model the weights of the best evaluation."""
        with files.plain_path(self.folder) as folder:
            self._weights.read(_path(folder, "best", int(state.best["step"]))).assert_consumed()

    def _write_state(self, state: RunState) -> None:
        self._output.replace(_STATE, json.dumps(dataclasses.asdict(state)).encode())
        if state.best:
            self._remove_others("best", int(state.best["step"]))

    def _remove_others(self, kind: str, step: int) -> None:
        kept = _path("", kind, step).removeprefix("/")
        for name in tf.io.gfile.listdir(self.folder):
            if not name.startswith(f"{kind}-") or name.startswith(kept):
                continue
            path = f"{self.folder}/{name}"
            # A kill during a write leaves a folder, step-..._temp.
            remove = tf.io.gfile.rmtree if tf.io.gfile.isdir(path) else tf.io.gfile.remove
            remove(path)


def _path(folder: str, kind: str, step: int) -> str:
    return f"{folder}/{kind}-{step:08d}"


@contextlib.contextmanager
def _write_errors(folder: str) -> Iterator[None]:
    """Turns errors of the file system into UnwritableError."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        fault = faults.find_fault(error)
        if isinstance(fault, MachineError):
            raise fault from error
        # TensorFlow names the operation and the file before the reason.
        text = str(getattr(error, "message", "") or error).splitlines()[0]
        reason = text.partition(" [Op:")[0].rpartition("; ")[2][:200]
        raise UnwritableError(
            f"cannot keep the training's state in {folder}: {reason}. Free some space, or give a "
            "folder that can be written, and run the same command again; what was saved before is "
            "still there."
        ) from error

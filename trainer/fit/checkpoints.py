"""State of a training run on disk: taken up by a rerun, to the step.

    FOLDER/step-00000400.index ...   weights, optimiser
    FOLDER/best-00000400.index ...   weights of the best evaluation so far
    FOLDER/state.json                which of these, and the losses since; written last

The data needs no file of its own: a batch follows from the seed and the step.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from audio.errors import ConfigMismatchError, UnwritableError
from storage.outputs import open_output

_STATE = "state.json"


@dataclasses.dataclass(kw_only=True)
class RunState:
    """Where a run is.

    Attributes:
      step: optimiser steps taken.
      rows: one row an evaluation, as in history.json.
      best: the row whose weights are kept; empty before the first.
      losses: of the steps since the last evaluation.
      seconds: spent on training so far, over all attempts.
    """

    step: int = 0
    rows: list[dict[str, float]] = dataclasses.field(default_factory=list)
    best: dict[str, float] = dataclasses.field(default_factory=dict)
    losses: list[float] = dataclasses.field(default_factory=list)
    seconds: float = 0.0


class Checkpoints:
    """The folder of one run.

    Args:
      folder: local or gs://; a run with other settings must have another one.
      model: its weights are kept.
      optimizer: its state is kept.
    """

    def __init__(self, folder: str, *, model: Any, optimizer: Any) -> None:
        self.folder = folder.rstrip("/")
        self._output = open_output(self.folder)
        # As lists: what Keras tracks of a model leaves out layers that stand in a list.
        weights, moments = list(model.weights), list(optimizer.variables)
        self._all = tf.train.Checkpoint(weights=weights, optimizer=moments)
        self._weights = tf.train.Checkpoint(weights=weights)

    def restore(self) -> RunState:
        """Puts weights and optimiser where the last attempt was; returns its state.

        A run that was not begun, or was killed before its first checkpoint, starts at step 0.

        Raises:
          ConfigMismatchError: the state is of a model with other weights.
        """
        with _said_plainly(self.folder):
            content = self._output.read(_STATE)
        if content is None:
            return RunState()
        state = RunState(**json.loads(content))
        try:
            self._all.read(self._path("step", state.step)).assert_consumed()
        except (AssertionError, ValueError) as error:
            raise ConfigMismatchError(
                f"the state in {self.folder} is of a model built otherwise, by another version of "
                "Nocturne. Remove that folder to train anew, or finish the run with that version."
            ) from error
        return state

    def save(self, state: RunState) -> None:
        """Writes weights, optimiser and state; the state goes last and replaces the one before."""
        with _said_plainly(self.folder):
            tf.io.gfile.makedirs(self.folder)
            self._all.write(self._path("step", state.step))
            self._write_state(state)
            self._remove_others("step", state.step)

    def save_best(self, step: int) -> None:
        """Writes the weights as the best so far; they count once `save` has named them."""
        with _said_plainly(self.folder):
            tf.io.gfile.makedirs(self.folder)
            self._weights.write(self._path("best", step))

    def restore_best(self, state: RunState) -> None:
        """Gives the model the weights of the best evaluation."""
        self._weights.read(self._path("best", int(state.best["step"]))).assert_consumed()

    def remove(self) -> None:
        """Removes the folder, once the model is exported."""
        if tf.io.gfile.exists(self.folder):
            tf.io.gfile.rmtree(self.folder)

    def _write_state(self, state: RunState) -> None:
        self._output.replace(_STATE, json.dumps(dataclasses.asdict(state)).encode())
        if state.best:
            self._remove_others("best", int(state.best["step"]))

    def _path(self, kind: str, step: int) -> str:
        return f"{self.folder}/{kind}-{step:08d}"

    def _remove_others(self, kind: str, step: int) -> None:
        for path in tf.io.gfile.glob(f"{self.folder}/{kind}-*"):
            if path.startswith(self._path(kind, step)):
                continue
            # A kill while a checkpoint was written leaves a folder, STEP_temp.
            remove = tf.io.gfile.rmtree if tf.io.gfile.isdir(path) else tf.io.gfile.remove
            remove(path)


@contextlib.contextmanager
def _said_plainly(folder: str) -> Iterator[None]:
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        reason = str(getattr(error, "message", "") or error).splitlines()[0][:200]
        raise UnwritableError(
            f"cannot keep the training's state in {folder}: {reason}. Make room or give a folder "
            "that can be written, and run the same command again; what was saved is still there."
        ) from error

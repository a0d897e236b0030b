"""Search for hyperparameters with KerasTuner; every trial is a real but shorter training.

Trials are compared by their loss on held-out windows, so only settings may vary that leave the
meaning of that loss alone (settings.TUNABLE). How a tuned model sounds is left to the Evaluator.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras_tuner
import tensorflow as tf

from audio import contract
from audio.errors import InputError, NocturneError
from trainer.data.normaliser import Normaliser
from trainer.data.windows import Dataset, has_windows
from trainer.fit.run import Progress, TrainingDivergedError
from trainer.fit.train import fit
from trainer.settings import TrainSettings, TuneSettings

_OBJECTIVE = keras_tuner.Objective("eval_loss", "min")


class TrialFailedError(NocturneError):
    """A trial failed, and the search with it."""


class _Fatal(keras_tuner.errors.FatalError):
    """An error that KerasTuner raises instead of counting a failed trial."""


class NextFrameTuner(keras_tuner.engine.base_tuner.BaseTuner):
    """A search whose trials train next-frame models.

    A search that was stopped resumes with the trial that was running, at its last saved step.

    Args:
      dataset: Dataset that the trials train on.
      normaliser: Normaliser fitted on its training split.
      settings: Settings of every trial, except those in the search space.
      tune: Settings of the search.
      folder: Folder for the state of the search.
      progress: Called after every step, counted over all trials.
    """

    def __init__(
        self,
        dataset: Dataset,
        normaliser: Normaliser,
        settings: TrainSettings,
        tune: TuneSettings,
        *,
        folder: str,
        progress: Progress | None = None,
    ) -> None:
        if not has_windows(dataset, contract.EVAL, settings.anchor + settings.window_frames):
            raise InputError(
                f"{dataset.path}: tune.trials={tune.trials} wants held-out recordings to compare "
                "trials on, and none is as long as a window. Add recordings, or set tune.trials=0."
            )
        self._dataset, self._normaliser, self._tune = dataset, normaliser, tune
        self._settings = dataclasses.replace(
            settings, steps=tune.steps, eval_every=min(settings.eval_every, tune.steps)
        )
        self._progress, self._reason = progress, ""
        root, _, name = folder.rstrip("/").rpartition("/")
        super().__init__(oracle=_oracle(tune, self._settings), directory=root, project_name=name)

    def run_trial(self, trial: Any) -> dict[str, float]:
        """Trains one model, and returns the eval_loss of its best evaluation; for KerasTuner."""
        values = dict(trial.hyperparameters.values)
        folder = f"{self.get_trial_dir(trial.trial_id)}/state"
        try:
            settings = dataclasses.replace(self._settings, **values)
            _, history = fit(
                self._dataset,
                self._normaliser,
                settings,
                folder=folder,
                write_logs=False,
                progress=self._trial_progress(int(trial.trial_id)),
            )
        except TrainingDivergedError as error:
            # That these values diverge is a result of the search, not an error.
            self._reason = str(error)
            raise keras_tuner.errors.FailedTrialError(f"diverged: {error}") from error
        except NocturneError as error:
            raise _Fatal(str(error)) from error
        except Exception as error:
            message = f"trial {trial.trial_id} of the search with {values} failed: {error}"
            failed = TrialFailedError(message)
            failed.__cause__ = error  # keeps the traceback in the log
            raise _Fatal(message) from failed
        tf.io.gfile.rmtree(folder)
        return {"eval_loss": float(history["best"]["eval_loss"])}

    def on_search_end(self) -> None:
        """Checks that at least one trial finished.

        Raises:
          TrialFailedError: All trials diverged.
        """
        if not self.finished_trials():
            raise TrialFailedError(
                f"none of {self._tune.trials} trials finished; the last one: {self._reason} "
                "Narrow tune.space."
            )

    def finished_trials(self) -> list[Any]:
        """Returns the trials that finished, the best first."""
        # KerasTuner fills its list of the best trials up with failed ones.
        trials = self.oracle.get_best_trials(self._tune.trials)
        return [trial for trial in trials if trial.status == "COMPLETED"]

    def _trial_progress(self, index: int) -> Progress | None:
        """Returns a progress function for one trial that counts the steps of all trials."""
        progress, steps = self._progress, self._tune.steps
        if progress is None:
            return None
        return lambda step, total, loss: progress(
            index * steps + step, self._tune.trials * total, loss
        )


def _oracle(tune: TuneSettings, settings: TrainSettings) -> Any:
    space = keras_tuner.HyperParameters()
    for name, values in tune.space.items():
        default = getattr(settings, name)
        space.Choice(name, list(values), default=default if default in values else values[0])
    return keras_tuner.oracles.RandomSearchOracle(
        objective=_OBJECTIVE,
        max_trials=tune.trials,
        hyperparameters=space,
        seed=settings.seed + 1,  # KerasTuner takes 0 for no seed
        max_consecutive_failed_trials=tune.trials + 1,  # on_search_end checks them all
    )

"""Searching hyperparameters with KerasTuner: every trial is a real, shorter training.

Trials are compared by their loss on the held-out recordings. So only settings may vary that leave
the meaning of that loss alone: a mixture of fewer components of a frame, say, has another loss for
the same quality. What a tuned model sounds like is for the Evaluator to say.
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
    """A trial could not be carried out; the search ends."""


class _Fatal(keras_tuner.errors.FatalError):
    """What KerasTuner does not swallow."""


class NextFrameTuner(keras_tuner.engine.base_tuner.BaseTuner):
    """A search whose trials train next-frame models.

    A search that was stopped goes on with the trial that was running, at its last saved step.

    Args:
      dataset: what trials learn from.
      normaliser: fitted on its training split.
      settings: of every trial, but for what the space names.
      tune: of the search.
      folder: where its state is kept.
      progress: called after every step, counted over all trials.
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
                "trials by, and none is as long as a window. Add recordings, or set tune.trials=0."
            )
        self._dataset, self._normaliser, self._tune = dataset, normaliser, tune
        self._settings = dataclasses.replace(
            settings, steps=tune.steps, eval_every=min(settings.eval_every, tune.steps)
        )
        self._progress, self._reason = progress, ""
        root, _, name = folder.rstrip("/").rpartition("/")
        super().__init__(oracle=_oracle(tune, self._settings), directory=root, project_name=name)

    def run_trial(self, trial: Any) -> dict[str, float]:
        """Trains one model; KerasTuner calls it.

        Returns:
          eval_loss: of the best evaluation.
        """
        values = dict(trial.hyperparameters.values)
        folder = f"{self.get_trial_dir(trial.trial_id)}/state"
        try:
            settings = dataclasses.replace(self._settings, **values)
            _, history = fit(
                self._dataset,
                self._normaliser,
                settings,
                folder=folder,
                watched=False,
                progress=self._counted(int(trial.trial_id)),
            )
        except TrainingDivergedError as error:
            # That these values diverge is what the search was to find out.
            self._reason = str(error)
            raise keras_tuner.errors.FailedTrialError(f"diverged: {error}") from error
        except NocturneError as error:
            raise _Fatal(str(error)) from error
        except Exception as error:
            said = f"trial {trial.trial_id} of the search with {values} failed: {error}"
            failed = TrialFailedError(said)
            failed.__cause__ = error  # for the log
            raise _Fatal(said) from failed
        tf.io.gfile.rmtree(folder)
        return {"eval_loss": float(history["best"]["eval_loss"])}

    def on_search_end(self) -> None:
        """Refuses to name a best where no trial came to an end.

        Raises:
          TrialFailedError: every one diverged.
        """
        if not self.finished_trials():
            raise TrialFailedError(
                f"none of {self._tune.trials} trials came to an end; the last one: {self._reason} "
                "Narrow tune.space."
            )

    def finished_trials(self) -> list[Any]:
        """Returns the trials that came to their end, the best first."""
        # KerasTuner fills up its best ones with those that failed.
        trials = self.oracle.get_best_trials(self._tune.trials)
        return [trial for trial in trials if trial.status == "COMPLETED"]

    def _counted(self, index: int) -> Progress | None:
        progress, steps = self._progress, self._tune.steps
        if progress is None:
            return None
        return lambda step, total, loss: progress(
            index * steps + step, self._tune.trials * total, loss
        )


def _oracle(tune: TuneSettings, settings: TrainSettings) -> Any:
    space = keras_tuner.HyperParameters()
    for name, values in tune.space.items():
        usual = getattr(settings, name)
        space.Choice(name, list(values), default=usual if usual in values else values[0])
    return keras_tuner.oracles.RandomSearchOracle(
        objective=_OBJECTIVE,
        max_trials=tune.trials,
        hyperparameters=space,
        seed=settings.seed + 1,  # KerasTuner takes 0 for none
        max_consecutive_failed_trials=tune.trials + 1,  # on_search_end looks at all of them
    )

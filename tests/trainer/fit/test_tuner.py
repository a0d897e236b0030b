"""The search for hyperparameters: its trials are real trainings, and errors are not hidden."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import types
from typing import Any

import pytest
import tensorflow as tf

from audio import contract
from audio.errors import InputError, UnwritableError, UsageError
from tests.support.tiny import TINY
from trainer.data.normaliser import Normaliser
from trainer.data.windows import Dataset
from trainer.fit import tuner as tuner_module
from trainer.fit.run import TrainingDivergedError
from trainer.fit.train import fit
from trainer.fit.tuner import NextFrameTuner, TrialFailedError, _Fatal
from trainer.run_fn import run_fn, tuner_fn
from trainer.settings import TuneSettings

TUNE = TuneSettings(trials=3, steps=10, space={"learning_rate": [1e-6, 1e-2], "units": [4, 12]})
# Without the residual a network has much to learn in ten steps.
SETTINGS = dataclasses.replace(TINY, head="mse_frame", n_layers=1)
FLAT = Normaliser(
    mean=tf.zeros([32]), std=tf.ones([32]), highest=tf.zeros([32]), floor=TINY.model_floor
)


def make_tuner(
    dataset: Dataset, folder: pathlib.Path, normaliser: Normaliser = FLAT, **changes: Any
) -> NextFrameTuner:
    tune = dataclasses.replace(TUNE, **changes)
    return NextFrameTuner(dataset, normaliser, SETTINGS, tune, folder=str(folder))


def pretend_to_fit(*args: Any, folder: str, **kwargs: Any) -> tuple[None, dict[str, Any]]:
    """Returns at once with a loss that follows from the settings."""
    pathlib.Path(folder).mkdir(parents=True)
    return None, {"best": {"eval_loss": args[2].units}}


@pytest.mark.slow
def test_search_trains_and_ranks_its_trials(opened, normaliser, tmp_path) -> None:
    tuner = make_tuner(opened, tmp_path / "search", normaliser)
    tuner.search()
    trials = tuner.finished_trials()
    assert len(trials) == 3
    assert len({json.dumps(trial.hyperparameters.values) for trial in trials}) == 3
    # The score of a trial is the loss that this training has, and not that of an untrained model.
    best = trials[0].hyperparameters.values
    settings = dataclasses.replace(SETTINGS, steps=10, eval_every=6, **best)
    folder = str(tmp_path / "again")
    _, history = fit(opened, normaliser, settings, folder=folder, write_logs=False)
    assert trials[0].score == pytest.approx(history["best"]["eval_loss"], rel=1e-6)
    assert best["learning_rate"] == 1e-2
    assert trials[0].score < 0.9 * trials[-1].score
    assert not list((tmp_path / "search").glob("trial_*/state"))


def test_search_that_was_stopped_repeats_no_finished_trial(opened, tmp_path, monkeypatch) -> None:
    trials = []

    def interrupted_fit(*args: Any, **kwargs: Any) -> Any:
        trials.append(pathlib.Path(kwargs["folder"]).parent.name)
        if len(trials) == 2:
            raise KeyboardInterrupt
        return pretend_to_fit(*args, **kwargs)

    monkeypatch.setattr(tuner_module, "fit", interrupted_fit)
    with pytest.raises(KeyboardInterrupt):
        make_tuner(opened, tmp_path / "search").search()
    tuner = make_tuner(opened, tmp_path / "search")
    tuner.search()
    assert trials == ["trial_0", "trial_1", "trial_1", "trial_2"]
    assert len(tuner.finished_trials()) == 3


@pytest.mark.parametrize("error", [UnwritableError("disk full"), ValueError("shapes")])
def test_search_ends_when_a_trial_fails(opened, tmp_path, monkeypatch, error) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise error

    monkeypatch.setattr(tuner_module, "fit", fail)
    with pytest.raises(_Fatal, match=str(error)) as caught:
        make_tuner(opened, tmp_path / "search").search()
    # The log shows where the error was raised.
    cause: BaseException | None = caught.value
    while cause and cause is not error:
        cause = cause.__cause__
    assert cause is error


def test_search_goes_on_after_a_diverged_trial_unless_all_diverge(
    opened, tmp_path, monkeypatch
) -> None:
    def diverging_fit(*args: Any, **kwargs: Any) -> Any:
        if args[2].learning_rate == 1e-2:
            raise TrainingDivergedError("the loss became nan at step 3.")
        return pretend_to_fit(*args, **kwargs)

    monkeypatch.setattr(tuner_module, "fit", diverging_fit)
    tuner = make_tuner(opened, tmp_path / "some", trials=4)
    tuner.search()
    trials = tuner.finished_trials()
    assert len(trials) == 2
    assert {trial.hyperparameters.values["learning_rate"] for trial in trials} == {1e-6}
    tuner = make_tuner(opened, tmp_path / "all", trials=1, space={"learning_rate": [1e-2]})
    with pytest.raises(TrialFailedError, match=r"none of 1 trials finished.*nan at step 3"):
        tuner.search()


def test_tuner_refuses_a_dataset_without_held_out_windows(opened, tmp_path) -> None:
    settings = dataclasses.replace(TINY, window_frames=60_000)
    with pytest.raises(InputError, match=r"tune\.trials=3 wants held-out recordings"):
        NextFrameTuner(opened, FLAT, settings, TUNE, folder=str(tmp_path / "search"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"space": {"mixture_dims": [8, 16]}}, r"tune\.space\.mixture_dims: wanted one of"),
        ({"space": {"units": []}}, r"tune\.space\.units: wanted values"),
        ({"space": {"units": [8.5]}}, r"tune\.space\.units: wanted a whole number, .* got 8\.5"),
        ({"space": {"dropout": [0.1, 1.5]}}, r"space\.dropout: wanted 0 to below 1, got 1\.5"),
        ({"space": {}}, r"tune\.space: wanted one train setting"),
        ({"trials": -1}, r"tune\.trials: wanted 0 to 10000, got -1"),
    ],
)
def test_tune_settings_refuse_what_cannot_be_searched(settings, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TuneSettings(**settings)


@pytest.mark.slow
def test_run_fn_trains_with_what_tuner_fn_found(dataset, model, tmp_path) -> None:
    """Through both functions, as TFX calls them."""
    tune = dataclasses.replace(TUNE, trials=2, space={"learning_rate": [1e-6, 1e-2]})
    args = types.SimpleNamespace(
        train_files=[f"{dataset}/Split-train/*"],
        transform_graph_path=str(model / contract.TRANSFORM_GRAPH),
        transform_output=str(model / contract.TRANSFORM_GRAPH),
        base_model=None,
        custom_config={
            "train": dataclasses.asdict(SETTINGS),
            "tune": dataclasses.asdict(tune),
            "config_yaml": "",
            "state": str(tmp_path / "state"),
        },
        serving_model_dir=str(tmp_path / "Trainer" / "model" / "7" / "Format-Serving"),
        hyperparameters=None,
    )
    result = tuner_fn(args)
    result.tuner.search(**result.fit_kwargs)
    args.hyperparameters = result.tuner.get_best_hyperparameters()[0].get_config()
    run_fn(args)
    info = json.loads(pathlib.Path(args.serving_model_dir, contract.MODEL_INFO).read_text())
    assert info["train"] == SETTINGS.recorded() | args.hyperparameters["values"]
    assert info["train"]["learning_rate"] == 1e-2

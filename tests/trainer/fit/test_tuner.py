"""A search for hyperparameters: its trials are trainings, and what fails is not hidden."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import types
from typing import Any

import pytest

from audio import contract
from audio.errors import InputError, UnwritableError, UsageError
from tests.support.tiny import TINY
from trainer.data.normaliser import Normaliser
from trainer.data.windows import open_dataset
from trainer.fit import tuner as tuner_module
from trainer.fit.run import TrainingDivergedError
from trainer.fit.train import fit
from trainer.fit.tuner import NextFrameTuner, TrialFailedError, _Fatal
from trainer.run_fn import run_fn, tuner_fn
from trainer.settings import TuneSettings

pytestmark = pytest.mark.slow
TUNE = TuneSettings(trials=3, steps=10, space={"learning_rate": [1e-6, 1e-2], "units": [4, 12]})

# Without the residual a network has much to learn in ten steps.
PLAIN = dataclasses.replace(TINY, head="mse_frame", n_layers=1)


@pytest.fixture(scope="module")
def normaliser(model: pathlib.Path) -> Normaliser:
    return Normaliser.from_graph(str(model / contract.TRANSFORM_GRAPH), floor=TINY.model_floor)


def search(
    dataset: pathlib.Path, normaliser: Normaliser, folder: pathlib.Path, **changes: Any
) -> NextFrameTuner:
    tune = dataclasses.replace(TUNE, **changes)
    return NextFrameTuner(open_dataset(str(dataset)), normaliser, PLAIN, tune, folder=str(folder))


def test_trials_really_train_and_the_best_is_the_one_that_learnt_most(
    dataset, normaliser, tmp_path
) -> None:
    tuner = search(dataset, normaliser, tmp_path / "search")
    tuner.search()
    trials = tuner.finished_trials()
    assert len(trials) == 3
    assert len({json.dumps(trial.hyperparameters.values) for trial in trials}) == 3
    # The score of a trial is the loss that this training has, and not that of an untrained model.
    best = trials[0].hyperparameters.values
    settings = dataclasses.replace(PLAIN, steps=10, eval_every=6, **best)
    _, history = fit(
        open_dataset(str(dataset)), normaliser, settings, folder=str(tmp_path / "again")
    )
    assert trials[0].score == pytest.approx(history["best"]["eval_loss"], rel=1e-6)
    assert best["learning_rate"] == 1e-2
    assert trials[0].score < 0.9 * trials[-1].score
    assert not list((tmp_path / "search").glob("trial_*/state"))


def test_a_search_that_was_stopped_does_no_trial_twice(
    dataset, normaliser, tmp_path, monkeypatch
) -> None:
    seen = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        seen.append(pathlib.Path(kwargs["folder"]).parent.name)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return fit(*args, **kwargs)

    monkeypatch.setattr(tuner_module, "fit", counted)
    with pytest.raises(KeyboardInterrupt):
        search(dataset, normaliser, tmp_path / "search").search()
    tuner = search(dataset, normaliser, tmp_path / "search")
    tuner.search()
    assert seen == ["trial_0", "trial_1", "trial_1", "trial_2"]
    assert len(tuner.finished_trials()) == 3


@pytest.mark.parametrize("error", [UnwritableError("disk full"), ValueError("shapes")])
def test_a_failing_trial_ends_the_search(dataset, normaliser, tmp_path, monkeypatch, error) -> None:
    def fails(*args: Any, **kwargs: Any) -> Any:
        raise error

    monkeypatch.setattr(tuner_module, "fit", fails)
    with pytest.raises(_Fatal, match=str(error)) as caught:
        search(dataset, normaliser, tmp_path / "search").search()
    # The log has the whole of it, to where it was raised.
    first: BaseException | None = caught.value
    while first and first is not error:
        first = first.__cause__
    assert first is error


def test_a_trial_that_diverges_is_a_result_unless_all_do(
    dataset, normaliser, tmp_path, monkeypatch
) -> None:
    def diverges(*args: Any, **kwargs: Any) -> Any:
        if args[2].learning_rate == 1e-2:
            raise TrainingDivergedError("the loss became nan at step 3.")
        return fit(*args, **kwargs)

    monkeypatch.setattr(tuner_module, "fit", diverges)
    tuner = search(dataset, normaliser, tmp_path / "one", trials=4)
    tuner.search()
    best = tuner.finished_trials()
    assert len(best) == 2
    assert {trial.hyperparameters.values["learning_rate"] for trial in best} == {1e-6}
    tuner = search(dataset, normaliser, tmp_path / "all", trials=1, space={"learning_rate": [1e-2]})
    with pytest.raises(TrialFailedError, match=r"none of 1 trials finished.*nan at step 3"):
        tuner.search()


def test_nothing_held_out_is_said(dataset, normaliser, tmp_path) -> None:
    settings = dataclasses.replace(TINY, window_frames=60_000)
    with pytest.raises(InputError, match=r"tune\.trials=3 wants held-out recordings"):
        NextFrameTuner(
            open_dataset(str(dataset)), normaliser, settings, TUNE, folder=str(tmp_path / "x")
        )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"space": {"mixture_dims": [8, 16]}}, r"tune\.space\.mixture_dims: wanted one of"),
        ({"space": {"units": []}}, r"tune\.space\.units: wanted values"),
        ({"space": {"units": [8.5]}}, r"tune\.space\.units: wanted a whole number, .* got 8\.5"),
        (
            {"space": {"dropout": [0.1, 1.5]}},
            r"space\.dropout: wanted 0 to below 1, got 1\.5",
        ),
        ({"space": {}}, r"tune\.space: wanted one train setting"),
        ({"trials": -1}, r"tune\.trials: wanted 0 to 10000, got -1"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(settings, said) -> None:
    with pytest.raises(UsageError, match=said):
        TuneSettings(**settings)


def test_tfx_trainer_takes_what_its_tuner_found(dataset, model, tmp_path) -> None:
    """Through both entries, as TFX calls them."""
    train = dataclasses.asdict(PLAIN)
    tune = dataclasses.replace(TUNE, trials=2, space={"learning_rate": [1e-6, 1e-2]})
    args = types.SimpleNamespace(
        train_files=[f"{dataset}/Split-train/*"],
        transform_graph_path=str(model / contract.TRANSFORM_GRAPH),
        transform_output=str(model / contract.TRANSFORM_GRAPH),
        base_model=None,
        custom_config={
            "train": train, "tune": dataclasses.asdict(tune), "config_yaml": "",
            "state": str(tmp_path / "state"),
        },
        serving_model_dir=str(tmp_path / "Trainer" / "model" / "7" / "Format-Serving"),
        hyperparameters=None,
    )  # fmt: skip
    found = tuner_fn(args)
    found.tuner.search(**found.fit_kwargs)
    args.hyperparameters = found.tuner.get_best_hyperparameters()[0].get_config()
    run_fn(args)
    info = json.loads(pathlib.Path(args.serving_model_dir, contract.MODEL_INFO).read_text())
    assert info["train"] == PLAIN.recorded() | args.hyperparameters["values"]
    assert info["train"]["learning_rate"] == 1e-2

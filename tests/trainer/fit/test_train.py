"""Training: the loss falls, equal seeds give equal models, and what fails leaves no model."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
import tempfile
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from audio import contract
from audio.errors import OutputExistsError
from tests.support.tiny import TINY
from trainer.data.windows import read_chunks
from trainer.export.saved_model import model_id
from trainer.fit import train
from trainer.fit.run import TrainingDivergedError
from trainer.fit.steps import CompiledSteps
from trainer.model.next_frame import NextFrameModel
from trainer.settings import TrainSettings
from trainer.style import drift

pytestmark = pytest.mark.slow


@pytest.fixture
def fit(opened, normaliser, tmp_path):
    """Fits a model with the normaliser of the small model, without TensorBoard."""

    def run(settings: TrainSettings, **options: Any) -> tuple[NextFrameModel, dict[str, Any]]:
        folder = str(tmp_path / "state")
        return train.fit(opened, normaliser, settings, folder=folder, write_logs=False, **options)

    return run


def test_fit_lowers_the_loss(fit) -> None:
    settings = dataclasses.replace(TINY, steps=60, eval_every=20, learning_rate=0.01)
    calls = []
    _, history = fit(settings, progress=lambda step, total, loss: calls.append((step, total)))
    assert calls == [(step, 60) for step in range(1, 61)]
    losses = [row["eval_loss"] for row in history["epochs"]]
    assert losses[-1] < losses[0]
    assert history["best"]["eval_loss"] == min(losses)


def test_fit_with_the_same_seed_gives_the_same_model(fit, opened, model) -> None:
    again, history = fit(TINY)
    info = json.loads((model / contract.MODEL_INFO).read_text())
    assert model_id(again, opened) == info["model_id"]
    assert history["best"] == info["metrics"]


def test_fit_measures_how_training_music_drifts(fit, opened, normaliser, monkeypatch) -> None:
    monkeypatch.setattr(drift, "_PASSAGE_FRAMES", 32)
    settings = dataclasses.replace(TINY, head="mixture", steps=1)
    model, _ = fit(settings)
    expected = drift.StyleDrift(32)
    chunks = [normaliser.apply(chunk).numpy() for chunk in read_chunks(opened, contract.TRAIN)]
    expected.adapt(chunks, anchor_frames=settings.anchor)
    assert float(tf.reduce_max(expected.final_spread)) > 0
    for name in ("median_shift", "initial_spread", "final_spread"):
        np.testing.assert_array_equal(
            getattr(model.style_drift, name), getattr(expected, name), err_msg=name
        )


def test_fit_stops_when_patience_runs_out(fit, monkeypatch) -> None:
    losses = iter([3.0, 2.0, 2.5, 2.4, 1.0])
    monkeypatch.setattr(CompiledSteps, "evaluate", lambda self, batches: next(losses))
    _, history = fit(dataclasses.replace(TINY, steps=100, eval_every=2, patience=2))
    assert history["best"]["step"] == 4
    assert history["steps"] == 8


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), 1e9])
def test_fit_raises_when_the_loss_diverges(fit, monkeypatch, loss: float) -> None:
    results = iter([(0.5, 1.0), (0.4, 1.0), (loss, 1.0)])
    monkeypatch.setattr(CompiledSteps, "train_step", lambda self, batch, step: next(results))
    with pytest.raises(TrainingDivergedError, match=r"at step 3.*train\.learning_rate"):
        fit(TINY)


def test_train_refuses_to_replace_a_model(model, dataset) -> None:
    before = (model / "saved_model.pb").read_bytes()
    with pytest.raises(OutputExistsError, match="already holds a model"):
        train.train(dataset_path=str(dataset), model_path=str(model), settings=TINY)
    assert (model / "saved_model.pb").read_bytes() == before


@pytest.mark.parametrize("failing", ["fit", "export"])
def test_train_that_fails_leaves_no_model(
    dataset: pathlib.Path, model: pathlib.Path, tmp_path, monkeypatch, failing: str
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("no space left")

    def fit(*args: object, **kwargs: object) -> tuple[NextFrameModel, dict[str, Any]]:
        return NextFrameModel(n_mels=32, settings=TINY), {"best": {}}

    monkeypatch.setattr(train, "fit", fail if failing == "fit" else fit)
    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="no space left"):
        train.train(
            dataset_path=str(dataset),
            model_path=str(tmp_path / "model"),
            settings=TINY,
            transform_graph=str(model / contract.TRANSFORM_GRAPH),
        )
    assert not (tmp_path / "model").exists()


def test_train_works_in_folders_of_any_name(dataset, model, tmp_path, monkeypatch) -> None:
    """With a dataset, a model, a base model and temporary files that look like patterns."""
    odd = tmp_path / "set [v1] * ? \\ 100% #2 é"
    shutil.copytree(dataset, odd / "data")
    (odd / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(odd / "temporary"))
    info = train.train(dataset_path=str(odd / "data"), model_path=f"{odd}/a", settings=TINY)
    assert info["model_id"] == json.loads((model / contract.MODEL_INFO).read_text())["model_id"]
    settings = dataclasses.replace(TINY, steps=1, warm_start=f"{odd}/a")
    train.train(dataset_path=str(odd / "data"), model_path=f"{odd}/b", settings=settings)
    assert sorted(path.name for path in odd.iterdir()) == ["a", "b", "data", "temporary"]

"""Warm start: training continues with everything that a model knew, and only if it fits."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

from audio import contract
from audio.config import AudioConfig
from audio.errors import ConfigMismatchError, IncompleteError
from beam_transforms import prepare
from beam_transforms.settings import PrepareSettings
from beam_transforms.sources import find_sources
from tests.support import signals
from tests.support.tiny import TINY
from trainer.data.normaliser import Normaliser
from trainer.data.windows import Dataset, open_dataset, read_chunks
from trainer.export.warm_start import open_base_model
from trainer.fit import train
from trainer.model.next_frame import NextFrameModel
from trainer.settings import TrainSettings

pytestmark = pytest.mark.slow
MIXTURE = dataclasses.replace(TINY, head="mixture", steps=6)


@pytest.fixture(scope="module")
def mixture_model(tmp_path_factory: pytest.TempPathFactory, dataset: pathlib.Path) -> pathlib.Path:
    path = tmp_path_factory.mktemp("warm") / "model"
    train.train(dataset_path=str(dataset), model_path=str(path), settings=MIXTURE)
    return path


@pytest.fixture(scope="module")
def other_dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A dataset of other recordings."""
    folder = tmp_path_factory.mktemp("other")
    for index in range(4):
        samples = 0.3 * signals.tune(seconds=8, seed=70 + index)
        signals.write(folder / "music" / f"{index}.wav", samples, subtype="FLOAT")
    prepare.run(
        sources=find_sources([str(folder / "music")]),
        output=str(folder / "dataset"),
        audio=AudioConfig(n_mels=32),
        settings=PrepareSettings(eval_share=0.34, chunk_frames=200),
    )
    return open_dataset(str(folder / "dataset"))


def restore(model: pathlib.Path, settings: TrainSettings, dataset: Dataset) -> NextFrameModel:
    restored = NextFrameModel(n_mels=32, settings=settings)
    open_base_model(str(model), dataset, settings).restore(restored)
    return restored


def copy_with_info(model: pathlib.Path, path: pathlib.Path, **changes: object) -> pathlib.Path:
    """A copy of a model with changes in its model_info.json."""
    shutil.copytree(model, path)
    info = json.loads((path / contract.MODEL_INFO).read_text())
    (path / contract.MODEL_INFO).write_text(json.dumps(info | changes))
    return path


def test_train_with_a_base_model_starts_from_its_weights_and_statistics(
    mixture_model, opened, other_dataset, tmp_path
) -> None:
    """On other music, with a learning rate that moves nothing, the new model is the old one."""
    settings = dataclasses.replace(
        MIXTURE, warm_start=str(mixture_model), learning_rate=1e-30, steps=2, eval_every=2, seed=9
    )
    new_model = tmp_path / "model"
    info = train.train(
        dataset_path=other_dataset.path, model_path=str(new_model), settings=settings
    )
    before, after = (restore(m, MIXTURE, opened).weights for m in (mixture_model, new_model))
    assert len(before) > 10
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(new, old, err_msg=old.path)
    old, new = (
        Normaliser.from_graph(str(m / contract.TRANSFORM_GRAPH), floor=MIXTURE.model_floor)
        for m in (mixture_model, new_model)
    )
    np.testing.assert_array_equal(new.mean, old.mean)
    frames = np.concatenate([np.asarray(c) for c in read_chunks(other_dataset, contract.TRAIN)])
    assert np.abs(frames.mean(axis=0) - old.mean).max() > 0.01
    base_info = json.loads((mixture_model / contract.MODEL_INFO).read_text())
    assert info["warm_start"] == {
        "path": str(mixture_model),
        "model_id": base_info["model_id"],
        "splits_compared": True,
    }


def test_fit_with_a_base_model_learns_more(model, opened, normaliser, tmp_path) -> None:
    """Three more stretches of training are better than the first alone."""
    settings = dataclasses.replace(TINY, warm_start=str(model), steps=36)
    base = open_base_model(str(model), opened, settings)
    _, history = train.fit(
        opened, normaliser, settings, folder=str(tmp_path), base=base, write_logs=False
    )
    info = json.loads((model / contract.MODEL_INFO).read_text())
    assert history["best"]["eval_loss"] < info["metrics"]["eval_loss"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": 13}, "units is 12 there and 13 here"),
        ({"n_layers": 1}, "n_layers is 2 there and 1 here"),
        ({"head": "mixture"}, "head is 'mse' there and 'mixture' here"),
        ({"model_floor": -9.0}, r"model_floor is -8\.0 there and -9\.0 here"),
    ],
)
def test_open_base_model_refuses_another_architecture(model, opened, changes, message) -> None:
    with pytest.raises(ConfigMismatchError, match=message):
        open_base_model(str(model), opened, dataclasses.replace(TINY, **changes))


def test_open_base_model_refuses_another_front_end(model, opened, tmp_path) -> None:
    other = AudioConfig(n_mels=opened.audio.n_mels, hop_length=256)
    path = copy_with_info(
        model,
        tmp_path / "model",
        audio=json.loads(other.to_json()),
        fingerprint=other.fingerprint,
    )
    with pytest.raises(
        ConfigMismatchError, match=rf"front end of .* is {other.fingerprint}, the dataset's"
    ):
        open_base_model(str(path), opened, TINY)


def test_restore_refuses_other_weights(model, opened, tmp_path) -> None:
    """The settings are equal, but another version of Nocturne built other layers."""
    settings = dataclasses.replace(TINY, units=14)
    info = json.loads((model / contract.MODEL_INFO).read_text())
    path = copy_with_info(model, tmp_path / "model", train=info["train"] | {"units": 14})
    with pytest.raises(ConfigMismatchError, match="another version of Nocturne"):
        restore(path, settings, opened)


def test_open_base_model_refuses_one_trained_on_held_out_recordings(
    model, dataset, tmp_path
) -> None:
    """The same recordings, with the splits swapped."""
    shutil.copytree(dataset, tmp_path / "swapped")
    swapped = {contract.TRAIN: contract.EVAL, contract.EVAL: contract.TRAIN}
    table = tmp_path / "swapped" / contract.RECORDINGS
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    rows = [row | {"split": swapped[row["split"]]} for row in rows]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    opened = open_dataset(str(tmp_path / "swapped"))
    opened.info["dataset_id"] = "another"
    with pytest.raises(ConfigMismatchError, match=r"learnt from \d+ of the recordings that"):
        open_base_model(str(model), opened, TINY)
    missing = {"path": "/nowhere", "dataset_id": "0" * 12}
    path = copy_with_info(model, tmp_path / "model", dataset=missing)
    assert not open_base_model(str(path), opened, TINY).splits_compared


def test_open_base_model_refuses_a_folder_without_a_model(opened, tmp_path) -> None:
    with pytest.raises(IncompleteError, match=r"is not a finished model: saved_model\.pb"):
        open_base_model(str(tmp_path), opened, TINY)

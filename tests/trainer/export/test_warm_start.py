"""Going on from a trained model: with all that it knew, and only where it fits."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from audio import contract
from audio.errors import ConfigMismatchError, IncompleteError
from tests.support.tiny import TINY
from trainer.data.windows import open_dataset
from trainer.export.warm_start import open_base_model
from trainer.fit import train
from trainer.model.next_frame import NextFrameModel
from trainer.settings import TrainSettings

pytestmark = pytest.mark.slow
MIXTURE = dataclasses.replace(TINY, head="mixture")


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory, dataset: pathlib.Path) -> pathlib.Path:
    path = tmp_path_factory.mktemp("warm") / "model"
    train.train(dataset_path=str(dataset), model_path=str(path), settings=MIXTURE)
    return path


def weights(model: pathlib.Path, settings: TrainSettings, dataset: pathlib.Path) -> list:
    made = NextFrameModel(n_mels=32, settings=settings)
    open_base_model(str(model), open_dataset(str(dataset)), settings).restore(made)
    return [np.asarray(weight) for weight in made.weights]


def vectors(model: pathlib.Path) -> dict[str, np.ndarray]:
    found = tf.saved_model.load(str(model)).transform({contract.LOG_MEL: tf.constant([b""])})
    return {name: np.asarray(value) for name, value in found.items()}


def altered(model: pathlib.Path, path: pathlib.Path, **changes: object) -> pathlib.Path:
    """A copy of a model that says something else of itself."""
    shutil.copytree(model, path)
    info = json.loads((path / contract.MODEL_INFO).read_text())
    (path / contract.MODEL_INFO).write_text(json.dumps(info | changes))
    return path


def test_it_goes_on_from_every_weight(mixture, dataset, tmp_path) -> None:
    """With a learning rate that moves nothing, the new model is the old one."""
    still = dataclasses.replace(
        MIXTURE, warm_start=str(mixture), learning_rate=1e-30, steps=2, eval_every=2, seed=9
    )
    info = train.train(
        dataset_path=str(dataset), model_path=str(tmp_path / "model"), settings=still
    )
    before, after = (weights(path, MIXTURE, dataset) for path in (mixture, tmp_path / "model"))
    assert len(before) > 10
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    known = json.loads((mixture / contract.MODEL_INFO).read_text())
    assert info["warm_start"] == {
        "path": str(mixture), "model_id": known["model_id"], "splits_compared": True,
    }  # fmt: skip


def test_it_keeps_the_normalisation_on_other_music(mixture, other, tmp_path) -> None:
    settings = dataclasses.replace(MIXTURE, warm_start=str(mixture), steps=6)
    train.train(dataset_path=str(other), model_path=str(tmp_path / "warm"), settings=settings)
    train.train(
        dataset_path=str(other),
        model_path=str(tmp_path / "cold"),
        settings=dataclasses.replace(settings, warm_start=""),
    )
    known, warm, cold = (vectors(p) for p in (mixture, tmp_path / "warm", tmp_path / "cold"))
    np.testing.assert_array_equal(warm[contract.MEL_MEAN], known[contract.MEL_MEAN])
    assert np.abs(cold[contract.MEL_MEAN] - known[contract.MEL_MEAN]).max() > 0.01


def test_it_learns_on(model, dataset, tmp_path) -> None:
    """Three more stretches of training are better than the first alone."""
    settings = dataclasses.replace(TINY, warm_start=str(model), steps=36)
    info = train.train(dataset_path=str(dataset), model_path=str(tmp_path / "m"), settings=settings)
    before = json.loads((model / contract.MODEL_INFO).read_text())["metrics"]["eval_loss"]
    assert info["metrics"]["eval_loss"] < before


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A dataset of other recordings."""
    from audio.config import AudioConfig
    from beam_transforms import prepare
    from beam_transforms.settings import PrepareSettings
    from beam_transforms.sources import find_sources
    from tests.support import signals

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
    return folder / "dataset"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"units": 13}, "units is 12 there and 13 here"),
        ({"n_layers": 1}, "n_layers is 2 there and 1 here"),
        ({"head": "mixture"}, "head is 'mse' there and 'mixture' here"),
        ({"model_floor": -9.0}, r"model_floor is -8\.0 there and -9\.0 here"),
    ],
)
def test_another_architecture_is_refused(model, dataset, changes, said) -> None:
    with pytest.raises(ConfigMismatchError, match=said):
        open_base_model(
            str(model), open_dataset(str(dataset)), dataclasses.replace(TINY, **changes)
        )


def test_another_front_end_is_refused(model, dataset, tmp_path) -> None:
    path = altered(model, tmp_path / "model", fingerprint="0123456789ab")
    with pytest.raises(
        ConfigMismatchError, match=r"front end of .* is 0123456789ab, the dataset's"
    ):
        open_base_model(str(path), open_dataset(str(dataset)), TINY)


def test_weights_of_another_version_are_refused(model, dataset, tmp_path) -> None:
    """Same settings, but the layers have come to be others."""
    settings = dataclasses.replace(TINY, units=14)
    info = json.loads((model / contract.MODEL_INFO).read_text())
    path = altered(model, tmp_path / "model", train=info["train"] | {"units": 14})
    with pytest.raises(ConfigMismatchError, match="another version of Nocturne"):
        weights(path, settings, dataset)


def test_a_model_that_knows_what_is_held_out_is_refused(model, dataset, tmp_path) -> None:
    """The same recordings, split the other way round."""
    shutil.copytree(dataset, tmp_path / "turned")
    turned = {contract.TRAIN: contract.EVAL, contract.EVAL: contract.TRAIN}
    table = tmp_path / "turned" / contract.RECORDINGS
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    rows = [row | {"split": turned[row["split"]]} for row in rows]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    opened = open_dataset(str(tmp_path / "turned"))
    opened.info["dataset_id"] = "another"
    with pytest.raises(ConfigMismatchError, match=r"learnt from \d+ of the recordings that"):
        open_base_model(str(model), opened, TINY)
    gone = altered(model, tmp_path / "model", dataset={"path": "/nowhere", "dataset_id": "gone"})
    assert not open_base_model(str(gone), opened, TINY).splits_compared


def test_what_is_no_model_is_refused(dataset, tmp_path) -> None:
    with pytest.raises(IncompleteError, match=r"is not a finished model: saved_model\.pb"):
        open_base_model(str(tmp_path), open_dataset(str(dataset)), TINY)

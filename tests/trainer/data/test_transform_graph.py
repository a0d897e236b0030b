"""The Transform graph against figures that NumPy computes from the same records."""

import itertools
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from apache_beam.transforms import util

from audio import contract
from trainer.data.normaliser import Normaliser
from trainer.data.transform_graph import MIN_STD, decode_frames, fit_transform_graph
from trainer.data.windows import read_chunks

FLOOR = -6.0


def fit(dataset: pathlib.Path, folder: pathlib.Path) -> Normaliser:
    fit_transform_graph(
        f"{dataset}/{contract.split_folder(contract.TRAIN)}/*",
        str(folder / "graph"),
        custom_config={"n_mels": 32, "model_floor": FLOOR},
        temporary=str(folder / "beam"),
    )
    return Normaliser.from_graph(str(folder / "graph"), floor=FLOOR)


def test_decode_frames_joins_records_in_order() -> None:
    rng = np.random.default_rng(0)
    records = [rng.normal(size=(n, 4)).astype("<f2") for n in (3, 1, 7)]
    frames = decode_frames(tf.constant([record.tobytes() for record in records]), n_mels=4)
    np.testing.assert_array_equal(frames, np.concatenate(records).astype(np.float32))


def test_fit_transform_graph_measures_the_training_split(dataset, opened, tmp_path) -> None:
    normaliser = fit(dataset, tmp_path)
    chunks = [np.asarray(chunk) for chunk in read_chunks(opened, contract.TRAIN)]
    frames = np.maximum(np.concatenate(chunks).astype(np.float64), FLOOR)
    np.testing.assert_allclose(normaliser.mean, frames.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(normaliser.std, np.maximum(frames.std(axis=0), MIN_STD), atol=1e-4)
    np.testing.assert_allclose(normaliser.highest, frames.max(axis=0), atol=1e-6)
    held_out = np.concatenate([np.asarray(c) for c in read_chunks(opened, contract.EVAL)])
    assert np.abs(np.maximum(held_out, FLOOR).mean(axis=0) - frames.mean(axis=0)).max() > 0.01


@pytest.mark.slow
def test_fit_transform_graph_twice_gives_equal_bits(dataset, tmp_path, monkeypatch) -> None:
    """Beam sizes batches by how long the last ones took, and so would order the sums."""
    sizes = itertools.cycle([1, 5, 2, 3])
    # What the estimator would say on a machine that is busy in bursts.
    monkeypatch.setattr(
        util._BatchSizeEstimator,
        "_calculate_next_batch_size",
        lambda self: max(self._min_batch_size, min(self._max_batch_size, next(sizes))),
    )
    first, second = fit(dataset, tmp_path / "1"), fit(dataset, tmp_path / "2")
    np.testing.assert_array_equal(second.mean, first.mean)
    np.testing.assert_array_equal(second.std, first.std)

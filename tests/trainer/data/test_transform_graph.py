import itertools
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from apache_beam.transforms import util

from audio import contract
from trainer.data.normaliser import Normaliser
from trainer.data.transform_graph import MIN_STD, decode_frames, fit_transform_graph
from trainer.data.windows import open_dataset, read_chunks

FLOOR = -6.0


def test_joined_records_are_their_frames_one_after_the_other() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, 4)).astype("<f2") for n in (3, 1, 7)]
    found = decode_frames(tf.constant([part.tobytes() for part in parts]), n_mels=4)
    np.testing.assert_array_equal(found, np.concatenate(parts).astype(np.float32))


def fitted(dataset: pathlib.Path, folder: pathlib.Path) -> Normaliser:
    fit_transform_graph(
        f"{dataset}/{contract.split_folder(contract.TRAIN)}/*",
        str(folder / "graph"),
        custom_config={"n_mels": 32, "model_floor": FLOOR},
        temporary=str(folder / "beam"),
    )
    return Normaliser.from_graph(str(folder / "graph"), floor=FLOOR)


def test_graph_holds_the_training_splits_figures_and_no_others(dataset, tmp_path) -> None:
    opened = open_dataset(str(dataset))
    normaliser = fitted(dataset, tmp_path)
    frames = np.concatenate([np.asarray(c) for c in read_chunks(opened, contract.TRAIN)])
    frames = np.maximum(frames.astype(np.float64), FLOOR)
    np.testing.assert_allclose(normaliser.mean, frames.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(normaliser.std, np.maximum(frames.std(axis=0), MIN_STD), atol=1e-4)
    np.testing.assert_allclose(normaliser.highest, frames.max(axis=0), atol=1e-6)
    held_out = np.concatenate([np.asarray(c) for c in read_chunks(opened, contract.EVAL)])
    assert np.abs(np.maximum(held_out, FLOOR).mean(axis=0) - frames.mean(axis=0)).max() > 0.01
    raw = tf.constant(frames[:50], tf.float32)
    np.testing.assert_allclose(normaliser.invert(normaliser.apply(raw)), raw, atol=1e-4)


@pytest.mark.slow
def test_a_second_fit_is_the_first_to_the_bit(dataset, tmp_path, monkeypatch) -> None:
    """Beam sizes batches by how long the last ones took, and so would order the sums."""
    sizes = itertools.cycle([1, 5, 2, 3])
    # What the estimator would say on a machine that is busy in bursts.
    monkeypatch.setattr(
        util._BatchSizeEstimator,
        "_calculate_next_batch_size",
        lambda self: max(self._min_batch_size, min(self._max_batch_size, next(sizes))),
    )
    first = fitted(dataset, tmp_path / "1")
    for name in ("2", "3"):
        again = fitted(dataset, tmp_path / name)
        np.testing.assert_array_equal(again.mean, first.mean)
        np.testing.assert_array_equal(again.std, first.std)


def test_the_level_is_that_of_all_bands_together(dataset, tmp_path) -> None:
    normaliser = fitted(dataset, tmp_path)
    frames = np.random.default_rng(0).normal(0, 1, (5, 32)).astype(np.float32)
    found = normaliser.level(tf.constant(frames))[:, 0]
    power = np.exp(normaliser.invert(frames).numpy().astype(np.float64))
    np.testing.assert_allclose(found, np.log(power.sum(axis=1)), rtol=1e-5)
    step = np.zeros(32, np.float32)
    step[20] = 0.01
    moved = (normaliser.level(frames + step) - normaliser.level(frames - step))[:, 0] / 0.02
    np.testing.assert_allclose(
        moved, normaliser.level_gradient(frames)[:, 20], rtol=0.05, atol=1e-3
    )


def test_limit_holds_frames_within_what_training_heard(dataset, tmp_path) -> None:
    normaliser = fitted(dataset, tmp_path)
    wild = tf.constant([[100.0] * 32, [-100.0] * 32])
    limited = normaliser.invert(normaliser.limit(wild))
    np.testing.assert_allclose(limited[0], normaliser.highest, atol=1e-4)
    np.testing.assert_allclose(limited[1], np.full(32, FLOOR), atol=1e-4)

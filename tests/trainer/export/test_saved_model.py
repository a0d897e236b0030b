"""The exported model: what it says of itself, and its rollout and score signatures."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from audio import contract
from audio.config import AudioConfig
from tests.support.tiny import TINY
from trainer.data.windows import eval_windows

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def loaded(model: pathlib.Path) -> Any:
    return tf.saved_model.load(str(model))


@pytest.fixture(scope="module")
def primers(model: pathlib.Path) -> np.ndarray:
    return np.load(model / contract.PRIMERS)["log_mel"].astype(np.float32)


@pytest.fixture(scope="module")
def rollout(loaded):
    signature = loaded.signatures[contract.ROLLOUT]

    def run(
        primers: np.ndarray, seeds: list[int], *, n_frames: int = 40, temperature: float = 0.5
    ) -> np.ndarray:
        return signature(
            primer=tf.constant(primers),
            anchor=tf.constant(primers),
            n_frames=tf.constant(n_frames),
            temperature=tf.constant(temperature, tf.float32),
            spread=tf.constant(temperature, tf.float32),
            noise_floor=tf.constant(0.0, tf.float32),
            seeds=tf.constant(seeds, tf.int64),
        )[contract.LOG_MEL].numpy()

    return run


def test_export_model_info(model, dataset) -> None:
    info = json.loads((model / contract.MODEL_INFO).read_text())
    assert AudioConfig.from_json(json.dumps(info["audio"])) == AudioConfig(n_mels=32)
    assert info["fingerprint"] == AudioConfig(n_mels=32).fingerprint
    assert info["train"] == TINY.recorded()
    dataset_info = json.loads((dataset / contract.DATASET_INFO).read_text())
    assert info["dataset"] == {"path": str(dataset), "dataset_id": dataset_info["dataset_id"]}
    history = json.loads((model / contract.HISTORY).read_text())
    assert [row["step"] for row in history["epochs"]] == [6, 12]
    assert set(info["tonality"]) == {"tone_100ms", "tone_500ms"}
    assert all(-0.2 < limit < 0.99 for limit in info["tonality"].values())
    assert info["metrics"] == min(history["epochs"], key=lambda row: row["eval_loss"])


def test_rollout_frames_are_those_that_score_expects(loaded, rollout, primers) -> None:
    """At temperature 0, each frame is exactly the one that the window call expects."""
    frames = rollout(primers[:2], [0, 0], n_frames=5, temperature=0.0)
    score, window = loaded.signatures[contract.SCORE], primers[:2]

    def summed_error(window: np.ndarray) -> np.ndarray:
        return score(log_mel=tf.constant(window))["mse"].numpy() * (window.shape[1] - 1)

    for index in range(5):
        longer = np.concatenate([window, frames[:, index : index + 1]], axis=1)
        # A frame that is expected adds nothing to the error.
        np.testing.assert_allclose(summed_error(longer), summed_error(window), rtol=1e-4)
        window = longer


def test_rollout_depends_on_its_seed_and_not_on_the_batch(rollout, primers) -> None:
    rows, seeds = [0, 1, 0, 1], [5, 6, 7, 0]
    clips = rollout(primers[rows], seeds)
    reversed_clips = rollout(primers[rows[::-1]], seeds[::-1])
    np.testing.assert_array_equal(clips, reversed_clips[::-1])
    assert np.abs(clips[0] - clips[2]).max() > 1e-3  # another seed, also if it is 0
    assert np.abs(clips[1] - clips[3]).max() > 1e-3


def test_rollout_at_temperature_0_does_not_depend_on_the_seed(rollout, primers) -> None:
    clips = rollout(primers[[0, 0]], [1, 2], temperature=0.0)
    np.testing.assert_array_equal(clips[0], clips[1])


def test_score_is_the_error_over_normalised_frames(loaded, opened, normaliser) -> None:
    windows = next(iter(eval_windows(opened, split="eval", window_frames=64, batch_windows=4)))
    scores = loaded.signatures[contract.SCORE](log_mel=windows)
    assert scores["mse"].shape == (4,)
    frames = normaliser.apply(windows).numpy()
    expected = np.mean(np.diff(frames, axis=1) ** 2, axis=(1, 2))
    np.testing.assert_allclose(scores["repeat_last_mse"], expected, rtol=1e-4)


def test_exported_model_runs_without_the_project(model, tmp_path) -> None:
    """In a process that cannot import the project, plain TensorFlow loads and runs it."""
    shutil.copytree(model, tmp_path / "moved")
    code = (
        "import sys, tensorflow as tf\n"
        "model = tf.saved_model.load(sys.argv[1])\n"
        "assert not {'trainer', 'audio', 'keras_nocturne'} & set(sys.modules)\n"
        "out = model.signatures['rollout'](primer=tf.zeros([1, 4, 32]), n_frames=tf.constant(3),\n"
        "    anchor=tf.zeros([1, 9, 32]), temperature=tf.constant(1.0), spread=tf.constant(1.0),\n"
        "    noise_floor=tf.constant(0.0), seeds=tf.constant([0], tf.int64))\n"
        "print(out['log_mel'].shape)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "moved")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert "(1, 3, 32)" in result.stdout, result.stderr[-2000:]

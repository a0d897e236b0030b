"""A training that is stopped, by whatever, and goes on: the same losses, the same model."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

import keras
import pytest
import tensorflow as tf

from audio import contract
from audio.errors import ConfigMismatchError
from tests.support.tiny import TINY
from trainer.fit import train
from trainer.fit.checkpoints import Checkpoints, RunState, UnwritableError
from trainer.fit.signals import PreemptedError

ROOT = pathlib.Path(__file__).parents[3]
# Dropout and noise are on: everything random in a step must come back as well.
SETTINGS = dataclasses.replace(
    TINY,
    head="mixture",
    steps=40,
    eval_every=10,
    dropout=0.2,
    input_noise=1.0,
    checkpoint_seconds=0.01,
)


def run(dataset: pathlib.Path, model: pathlib.Path, **options: Any) -> dict:
    return train.train(
        dataset_path=str(dataset), model_path=str(model), settings=SETTINGS, **options
    )


@pytest.fixture(scope="module")
def uninterrupted(dataset, tmp_path_factory) -> tuple[dict, dict]:
    path = tmp_path_factory.mktemp("uninterrupted") / "model"
    info = run(dataset, path)
    return info, json.loads((path / contract.HISTORY).read_text())


def assert_same(model: pathlib.Path, info: dict, uninterrupted: tuple[dict, dict]) -> None:
    history = json.loads((model / contract.HISTORY).read_text())
    assert history["epochs"] == uninterrupted[1]["epochs"]
    assert info["model_id"] == uninterrupted[0]["model_id"]
    assert not list(model.parent.glob("*.training"))


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 10, 23])
def test_a_run_that_broke_goes_on_as_if_it_had_not(
    dataset, tmp_path, uninterrupted, at: int
) -> None:
    def broken(step: int, total: int, loss: float) -> None:
        if step == at:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        run(dataset, tmp_path / "model", progress=broken)
    taken = []
    info = run(dataset, tmp_path / "model", progress=lambda step, *_: taken.append(step))
    assert taken[-1] == 40
    # The step that broke was not saved; one of the last before it was.
    assert max(1, at - 3) <= taken[0] <= at
    assert_same(tmp_path / "model", info, uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("at", [17, 20, 40])
def test_sigterm_saves_and_says_again(dataset, tmp_path, uninterrupted, at: int) -> None:
    """In the middle of a part, at the end of one, which is still evaluated, and at the very end."""

    def terminated(step: int, total: int, loss: float) -> None:
        if step == at:
            os.kill(os.getpid(), signal.SIGTERM)

    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(PreemptedError, match=f"stopped at step {at} of 40, which is saved"):
        run(dataset, tmp_path / "model", progress=terminated)
    assert PreemptedError.exit_code == 75
    assert signal.getsignal(signal.SIGTERM) == handler
    assert not (tmp_path / "model").exists()
    taken = []
    info = run(dataset, tmp_path / "model", progress=lambda step, *_: taken.append(step))
    assert taken == list(range(at + 1, 41))
    assert_same(tmp_path / "model", info, uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [3, 21])
def test_sigkill_and_a_rerun(dataset, tmp_path, uninterrupted, steps: int) -> None:
    """In a process of its own, killed some steps in, wherever that is."""
    code = (
        "import pathlib, sys\n"
        "from tests.trainer.fit.test_resume import run\n"
        "show = lambda step, *_: print(step, flush=True)\n"
        "run(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), progress=show)\n"
    )
    command = [sys.executable, "-c", code, str(dataset), str(tmp_path / "model")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if line.strip() == str(steps):
                time.sleep(0.02)
                process.kill()
    assert not (tmp_path / "model").exists()
    taken = []
    info = run(dataset, tmp_path / "model", progress=lambda step, *_: taken.append(step))
    assert 1 < taken[0] <= steps + 2 or steps == 3
    assert_same(tmp_path / "model", info, uninterrupted)


def test_what_a_kill_left_half_written_is_in_nobodys_way(tmp_path) -> None:
    """TensorFlow writes a checkpoint through a folder of its own, and a kill leaves that."""
    layer = keras.layers.Dense(1)
    layer.build((None, 1))
    layer.bias.assign([1.0])
    checkpoints = Checkpoints(str(tmp_path), model=layer, optimizer=keras.optimizers.SGD())
    (tmp_path / "step-00000003_temp").mkdir()
    (tmp_path / "step-00000003_temp" / "part-00000-of-00001.data-00000-of-00001").write_text("x")
    checkpoints.save(RunState(step=4))
    layer.bias.assign([5.0])
    assert checkpoints.restore().step == 4
    assert layer.bias.numpy() == 1
    assert not list(tmp_path.glob("step-00000003*"))


@pytest.mark.parametrize("units", [[2], [1, 1]])
def test_a_state_of_other_weights_is_refused_with_a_remedy(tmp_path, units: list[int]) -> None:
    """As after an upgrade that changed the model."""

    def checkpoints(sizes: list[int]) -> Checkpoints:
        model = keras.Sequential([keras.Input((1,)), *(keras.layers.Dense(n) for n in sizes)])
        return Checkpoints(str(tmp_path), model=model, optimizer=keras.optimizers.SGD())

    checkpoints([1]).save(RunState(step=4))
    with pytest.raises(ConfigMismatchError, match=r"another version.*Remove that folder"):
        checkpoints(units).restore()


@pytest.mark.slow
def test_other_settings_do_not_go_on_from_this_state(dataset, tmp_path) -> None:
    def broken(step: int, total: int, loss: float) -> None:
        if step == 5:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        run(dataset, tmp_path / "model", progress=broken)
    taken = []
    train.train(
        dataset_path=str(dataset),
        model_path=str(tmp_path / "model"),
        settings=dataclasses.replace(SETTINGS, steps=10, learning_rate=1e-3),
        progress=lambda step, *_: taken.append(step),
    )
    assert taken[0] == 1


@pytest.mark.slow
def test_a_full_disk_is_said_in_a_line(dataset, tmp_path, monkeypatch) -> None:
    def full(self: Checkpoints, state: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(Checkpoints, "_write_state", full)
    with pytest.raises(UnwritableError, match=r"cannot keep the training.*No space left") as error:
        run(dataset, tmp_path / "model")
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_said_in_a_line(dataset, tmp_path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UnwritableError, match="cannot keep the training"):
        run(dataset, tmp_path / "model", work_path=str(tmp_path / "file"))

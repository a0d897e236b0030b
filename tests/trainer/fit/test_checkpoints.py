"""The state of a training run on disk."""

from __future__ import annotations

import dataclasses
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from audio.errors import ConfigMismatchError, UnwritableError
from tests.support.tiny import TINY
from trainer.fit.checkpoints import Checkpoints, RunState
from trainer.model.next_frame import NextFrameModel
from trainer.settings import HEADS, HeadName


def make_checkpoints(folder: pathlib.Path, sizes: tuple[int, ...] = (1,)) -> Checkpoints:
    """Checkpoints of a model with dense layers of these sizes."""
    model = keras.Sequential([keras.Input((1,)), *(keras.layers.Dense(n) for n in sizes)])
    return Checkpoints(str(folder), model=model, optimizer=keras.optimizers.SGD())


def test_restore_without_a_state_starts_at_step_0(tmp_path) -> None:
    assert make_checkpoints(tmp_path).restore() == RunState()


def test_restore_ignores_what_a_kill_left_half_written(tmp_path) -> None:
    """TensorFlow writes a checkpoint through a folder of its own, which a kill leaves behind."""
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


@pytest.mark.parametrize("sizes", [(2,), (1, 1)])
def test_restore_refuses_the_state_of_other_weights(tmp_path, sizes: tuple[int, ...]) -> None:
    """As after an upgrade that changed the model."""
    make_checkpoints(tmp_path).save(RunState(step=4))
    with pytest.raises(ConfigMismatchError, match=r"another version.*Remove that folder"):
        make_checkpoints(tmp_path, sizes).restore()


@pytest.mark.parametrize("head", HEADS)
def test_restore_best_restores_all_weights_of_a_model(tmp_path, head: HeadName) -> None:
    keras.utils.set_random_seed(0)
    model = NextFrameModel(n_mels=8, settings=dataclasses.replace(TINY, head=head))
    best = [weight.numpy().copy() for weight in model.weights]
    checkpoints = Checkpoints(str(tmp_path), model=model, optimizer=keras.optimizers.Adam())
    checkpoints.save_best(3)
    for weight in model.weights:
        weight.assign(weight + 1.0)
    checkpoints.restore_best(RunState(best={"step": 3}))
    for weight, expected in zip(model.weights, best, strict=True):
        np.testing.assert_array_equal(weight, expected, err_msg=weight.path)


def test_save_on_a_full_disk_raises_one_line(tmp_path, monkeypatch) -> None:
    def fail(self: Checkpoints, state: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device\nat line 3")

    monkeypatch.setattr(Checkpoints, "_write_state", fail)
    with pytest.raises(UnwritableError, match=r"cannot keep the training.*No space left") as error:
        make_checkpoints(tmp_path).save(RunState(step=4))
    assert "\n" not in str(error.value)


def test_save_into_a_folder_that_cannot_be_written(tmp_path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UnwritableError, match="cannot keep the training"):
        make_checkpoints(tmp_path / "file" / "state").save(RunState(step=4))


@pytest.mark.parametrize("name", ["album [disc 1]", "a*b?", "back\\slash", "100% #1 é"])
def test_a_run_resumes_in_a_folder_of_any_name(tmp_path, name: str) -> None:
    """TensorFlow takes some characters for a pattern, and would start again without a word."""
    layer = keras.layers.Dense(1)
    layer.build((None, 1))
    folder = tmp_path / name
    for step in (2, 4):
        checkpoints = Checkpoints(str(folder), model=layer, optimizer=keras.optimizers.SGD())
        layer.bias.assign([float(step)])
        checkpoints.save_best(step)
        checkpoints.save(RunState(step=step, best={"step": step}))
    layer.bias.assign([9.0])
    state = checkpoints.restore()
    assert (state.step, layer.bias.numpy()) == (4, 4)
    layer.bias.assign([9.0])
    checkpoints.restore_best(state)
    assert layer.bias.numpy() == 4
    names = {path.name.partition(".")[0] for path in folder.iterdir()}
    assert names == {"step-00000004", "best-00000004", "state"}

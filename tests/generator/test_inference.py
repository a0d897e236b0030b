"""A damaged or foreign model is refused with the reason."""

from __future__ import annotations

import json
import pathlib
import shutil
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from audio import contract
from audio.errors import ConfigMismatchError, IncompleteError
from generator.inference import load_model

pytestmark = pytest.mark.slow


def weights(path: pathlib.Path) -> pathlib.Path:
    (data,) = (path / "variables").glob("variables.data-*")
    return data


def cut(path: pathlib.Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flip(path: pathlib.Path) -> None:
    """Changes one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def alter_front_end(path: pathlib.Path) -> None:
    info = json.loads((path / contract.MODEL_INFO).read_text())
    info["audio"]["hop_length"] = 256
    (path / contract.MODEL_INFO).write_text(json.dumps(info))


def pickled_primers(path: pathlib.Path) -> None:
    np.savez(path / contract.PRIMERS, log_mel=np.array([{}], dtype=object), source=np.array(["x"]))


def foreign(path: pathlib.Path) -> None:
    """Writes somebody else's SavedModel, and keeps Nocturne's other files."""
    module = tf.Module()
    module.double = tf.function(lambda x: 2 * x, input_signature=[tf.TensorSpec([], tf.float32)])
    shutil.rmtree(path / "variables")
    tf.saved_model.save(module, str(path), signatures={"rollout": module.double})


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda p: cut(p / "saved_model.pb"), IncompleteError, r"saved_model\.pb or .* is damaged"),
        (lambda p: cut(weights(p)), IncompleteError, "is damaged"),
        (lambda p: flip(weights(p)), IncompleteError, "is damaged"),
        (lambda p: weights(p).unlink(), IncompleteError, "is damaged"),
        (lambda p: cut(p / contract.MODEL_INFO), IncompleteError, r"model_info\.json is damaged"),
        (lambda p: cut(p / contract.PRIMERS), IncompleteError, r"primers\.npz is damaged"),
        (pickled_primers, IncompleteError, r"primers\.npz is damaged.*allow_pickle"),
        (lambda p: (p / contract.PRIMERS).unlink(), IncompleteError, r"primers\.npz is missing"),
        (alter_front_end, ConfigMismatchError, "names front end .*, but describes"),
        (foreign, ConfigMismatchError, "wanted a rollout with inputs anchor, n_frames.*has x"),
    ],
)
def test_a_damaged_or_foreign_model_is_refused_with_the_reason(
    model, tmp_path, damage: Callable[[pathlib.Path], None], error: type, message: str
) -> None:
    shutil.copytree(model, tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(error, match=message) as caught:
        load_model(str(tmp_path / "model"))
    assert "\n" not in str(caught.value)


def test_an_intact_copy_of_a_model_is_loaded(model, tmp_path) -> None:
    shutil.copytree(model, tmp_path / "model")
    info = json.loads((model / contract.MODEL_INFO).read_text())
    assert load_model(str(tmp_path / "model")).info == info

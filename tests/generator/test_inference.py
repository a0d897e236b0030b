"""A damaged or foreign model is refused with the reason."""

from __future__ import annotations

import functools
import json
import math
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

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


def primers(path: pathlib.Path, **changes: Callable[[Any], Any]) -> None:
    """Changes arrays of the primers by functions."""
    arrays = dict(np.load(path / contract.PRIMERS))
    np.savez(path / contract.PRIMERS, **{k: changes.get(k, np.array)(v) for k, v in arrays.items()})


def info(path: pathlib.Path, key: str, value: Any) -> None:
    """Changes a value of model_info.json, of which the key may be nested."""
    content = json.loads((path / contract.MODEL_INFO).read_text())
    *around, last = key.split(".")
    functools.reduce(dict.__getitem__, around, content)[last] = value
    (path / contract.MODEL_INFO).write_text(json.dumps(content))


def nested(path: pathlib.Path) -> None:
    (path / contract.MODEL_INFO).write_text("[" * 100_000 + "]" * 100_000)


def not_finite(log_mel: np.ndarray) -> np.ndarray:
    log_mel[-1, -1, -1] = np.nan
    return log_mel


def renamed(model: pathlib.Path) -> None:
    """Gives the model another id, as if its info had come from another model."""
    info(model, "model_id", "0123456789ab")


INFO = r"model_info\.json is damaged, or belongs to another model"
PRIMERS = r"primers\.npz is damaged, or belongs to another model"


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda p: cut(p / "saved_model.pb"), IncompleteError, r"saved_model\.pb or .* is damaged"),
        (lambda p: cut(weights(p)), IncompleteError, "is damaged"),
        (lambda p: flip(weights(p)), IncompleteError, "is damaged"),
        (lambda p: weights(p).unlink(), IncompleteError, "is damaged"),
        (lambda p: cut(p / contract.MODEL_INFO), IncompleteError, INFO),
        (nested, IncompleteError, rf"{INFO} \(RecursionError"),
        (lambda p: info(p, "model_id", "../x"), IncompleteError, rf"{INFO} \(model_id: "),
        (lambda p: info(p, "model_id", 5), IncompleteError, rf"{INFO} \(model_id: "),
        (lambda p: info(p, "fingerprint", []), IncompleteError, rf"{INFO} \(fingerprint: "),
        (lambda p: info(p, "audio", None), IncompleteError, rf"{INFO} \(audio: "),
        (lambda p: info(p, "audio.n_mels", 0), IncompleteError, rf"{INFO} \(.*audio\.n_mels"),
        (lambda p: info(p, "train", {}), IncompleteError, rf"{INFO} \(train\.primer_frames"),
        (lambda p: info(p, "dataset.path", 1), IncompleteError, rf"{INFO} \(dataset\.path"),
        (lambda p: info(p, "dataset.dataset_id", "x"), IncompleteError, "dataset.dataset_id"),
        (lambda p: info(p, "anchor_frames", True), IncompleteError, rf"{INFO} \(anchor_frames"),
        (lambda p: info(p, "natural_temperature", math.nan), IncompleteError, rf"{INFO} .*NaN"),
        (lambda p: info(p, "tonality", {"x": "y"}), IncompleteError, rf"{INFO} \(tonality\.x"),
        (renamed, ConfigMismatchError, "is of model 0123456789ab, and the weights are of"),
        (lambda p: cut(p / contract.PRIMERS), IncompleteError, PRIMERS),
        (pickled_primers, IncompleteError, rf"{PRIMERS}.*allow_pickle"),
        (lambda p: (p / contract.PRIMERS).unlink(), IncompleteError, r"primers\.npz is missing"),
        (
            lambda p: primers(p, log_mel=lambda v: v[:, :, 1:]),
            IncompleteError,
            rf"{PRIMERS} .*wanted .* \(\d+, 16, 32\); got float16 \(\d+, 16, 31\)",
        ),
        (lambda p: primers(p, log_mel=lambda v: v[1:]), IncompleteError, rf"{PRIMERS} .*wanted"),
        (lambda p: primers(p, log_mel=lambda v: v[0]), IncompleteError, rf"{PRIMERS} .*wanted"),
        (lambda p: primers(p, log_mel=lambda v: v[:, 1:]), IncompleteError, rf"{PRIMERS} .*wanted"),
        (
            lambda p: primers(p, log_mel=lambda v: v[:0], source=lambda v: v[:0]),
            IncompleteError,
            rf"{PRIMERS} .*wanted",
        ),
        (lambda p: primers(p, log_mel=lambda v: v.astype("U9")), IncompleteError, "got <U9"),
        (lambda p: primers(p, log_mel=not_finite), IncompleteError, f"{PRIMERS} .*finite"),
        (lambda p: primers(p, source=lambda v: v[1:]), IncompleteError, rf"{PRIMERS} .*wanted"),
        (
            lambda p: primers(p, source=lambda v: np.array(["{}"] * len(v))),
            IncompleteError,
            rf"{PRIMERS} \(recording_id: ",
        ),
        (
            lambda p: primers(p, source=lambda v: np.array(["[" * 100_000] * len(v))),
            IncompleteError,
            rf"{PRIMERS} \(RecursionError",
        ),
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


@pytest.mark.parametrize("name", ["album [disc 1]", "a*b", "what?", "back\\slash", "100% #1 é"])
def test_a_model_is_loaded_from_any_folder(model, tmp_path, name: str) -> None:
    """TensorFlow takes [ * ? and the backslash for a pattern, and finds no weights."""
    shutil.copytree(model, tmp_path / name)
    assert load_model(f"{tmp_path}/{name}").path == f"{tmp_path}/{name}"


def test_an_intact_copy_of_a_model_is_loaded(model, tmp_path) -> None:
    shutil.copytree(model, tmp_path / "model")
    content = json.loads((model / contract.MODEL_INFO).read_text())
    assert load_model(str(tmp_path / "model")).info == content

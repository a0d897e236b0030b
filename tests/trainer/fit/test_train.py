import dataclasses
import json
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from audio import contract
from audio.config import AudioConfig
from audio.errors import OutputExistsError, UsageError
from tests.support.tiny import TINY
from trainer.data.normaliser import Normaliser
from trainer.data.windows import eval_windows, open_dataset, read_chunks
from trainer.fit import train
from trainer.fit.checkpoints import Checkpoints, RunState
from trainer.fit.devices import is_chief, resolve_strategy
from trainer.fit.run import TrainingDivergedError
from trainer.fit.steps import CompiledSteps
from trainer.model.next_frame import NextFrameModel
from trainer.settings import HEADS, HeadName
from trainer.style import drift

pytestmark = pytest.mark.slow


def rollout(
    path: pathlib.Path, primer: np.ndarray, seeds: list[int], **options: float
) -> np.ndarray:
    options = {"n_frames": 40, "temperature": 0.5} | options
    signature = tf.saved_model.load(str(path)).signatures[contract.ROLLOUT]
    return signature(
        primer=tf.constant(primer),
        anchor=tf.constant(primer),
        n_frames=tf.constant(int(options["n_frames"])),
        temperature=tf.constant(options["temperature"], tf.float32),
        spread=tf.constant(options.get("spread", options["temperature"]), tf.float32),
        noise_floor=tf.constant(options.get("noise_floor", 0.0), tf.float32),
        seeds=tf.constant(seeds, tf.int64),
    )[contract.LOG_MEL].numpy()


@pytest.fixture(scope="module")
def primer(model) -> np.ndarray:
    return np.load(model / contract.PRIMERS)["log_mel"].astype(np.float32)


def test_the_model_says_what_it_is(model, dataset) -> None:
    info = json.loads((model / contract.MODEL_INFO).read_text())
    assert AudioConfig.from_json(json.dumps(info["audio"])) == AudioConfig(n_mels=32)
    assert info["fingerprint"] == AudioConfig(n_mels=32).fingerprint
    assert info["train"] == TINY.recorded()
    dataset_info = json.loads((dataset / contract.DATASET_INFO).read_text())
    assert info["dataset"] == {"path": str(dataset), "dataset_id": dataset_info["dataset_id"]}
    history = json.loads((model / contract.HISTORY).read_text())
    assert [row["step"] for row in history["epochs"]] == [6, 12]
    assert info["metrics"] == min(history["epochs"], key=lambda row: row["eval_loss"])


def test_training_lowers_the_loss(dataset, tmp_path) -> None:
    settings = dataclasses.replace(TINY, steps=60, eval_every=20, learning_rate=0.01)
    losses = []
    info = train.train(
        dataset_path=str(dataset),
        model_path=str(tmp_path / "model"),
        settings=settings,
        progress=lambda step, total, loss: losses.append((step, total, loss)),
    )
    assert [step for step, _, _ in losses] == list(range(1, 61))
    assert losses[-1][1] == 60
    history = json.loads((tmp_path / "model" / contract.HISTORY).read_text())
    assert history["epochs"][-1]["eval_loss"] < history["epochs"][0]["eval_loss"]
    assert info["metrics"]["eval_loss"] == min(row["eval_loss"] for row in history["epochs"])


def test_the_same_seed_gives_the_same_model(model, dataset, tmp_path) -> None:
    again = train.train(
        dataset_path=str(dataset), model_path=str(tmp_path / "model"), settings=TINY
    )
    first = json.loads((model / contract.MODEL_INFO).read_text())
    assert again["model_id"] == first["model_id"]


def test_a_rollout_is_its_step_repeated(model, dataset, primer, tmp_path) -> None:
    """The exported graph against the model's own window call, frame by frame, at temperature 0."""
    found = rollout(model, primer[:2], [0, 0], n_frames=5, temperature=0.0)
    history = primer[:2]
    loaded = tf.saved_model.load(str(model))
    score = loaded.signatures[contract.SCORE]
    for index in range(5):
        # score's error is zero where the next frame is exactly what the model expects.
        window = np.concatenate([history, found[:, index : index + 1]], axis=1)
        before = score(log_mel=tf.constant(history))["mse"].numpy() * (history.shape[1] - 1)
        after = score(log_mel=tf.constant(window))["mse"].numpy() * (window.shape[1] - 1)
        np.testing.assert_allclose(after, before, rtol=1e-4)
        history = window


def test_a_clip_does_not_depend_on_its_neighbours(model, primer) -> None:
    rows = [0, 1, 0, 1]
    seeds = [5, 6, 7, 0]
    together = rollout(model, primer[rows], seeds)
    swapped = rollout(model, primer[rows[::-1]], seeds[::-1])
    np.testing.assert_array_equal(together, swapped[::-1])
    assert np.abs(together[0] - together[2]).max() > 1e-3  # another seed, seed 0 among them
    assert np.abs(together[1] - together[3]).max() > 1e-3


def test_temperature_zero_is_the_same_for_every_seed(model, primer) -> None:
    found = rollout(model, primer[[0, 0]], [1, 2], temperature=0.0)
    np.testing.assert_array_equal(found[0], found[1])


def test_score_is_the_error_over_normalised_frames(model, dataset) -> None:
    opened = open_dataset(str(dataset))
    windows = next(iter(eval_windows(opened, split="eval", window_frames=64, batch_windows=4)))
    loaded = tf.saved_model.load(str(model))
    scores = loaded.signatures[contract.SCORE](log_mel=windows)
    assert scores["mse"].shape == (4,)
    vectors = loaded.transform({contract.LOG_MEL: tf.constant([b""])})
    mean, std = vectors[contract.MEL_MEAN][0], vectors[contract.MEL_STD][0]
    frames = (np.maximum(windows, TINY.model_floor) - mean) / std
    expected = np.mean(np.diff(frames, axis=1) ** 2, axis=(1, 2))
    np.testing.assert_allclose(scores["repeat_last_mse"], expected, rtol=1e-4)


def test_an_untrained_residual_model_repeats_the_last_frame() -> None:
    fresh = NextFrameModel(n_mels=8, settings=TINY)
    frames = tf.random.normal([2, 5, 8])
    np.testing.assert_array_equal(fresh(frames), frames)


def test_without_residual_the_output_is_linear_in_the_hidden_frame() -> None:
    fresh = NextFrameModel(n_mels=8, settings=dataclasses.replace(TINY, head="mse_frame"))
    frames = tf.random.normal([2, 5, 8])
    hidden = fresh.lstm(frames)
    expected = hidden @ fresh.head.linear.kernel + fresh.head.linear.bias
    np.testing.assert_allclose(fresh(frames), expected, atol=1e-6)


def test_a_finished_model_is_left_alone(model, dataset) -> None:
    before = (model / "saved_model.pb").read_bytes()
    with pytest.raises(OutputExistsError, match="already holds a model"):
        train.train(dataset_path=str(dataset), model_path=str(model), settings=TINY)
    assert (model / "saved_model.pb").read_bytes() == before


def test_a_failed_export_leaves_no_model(dataset, tmp_path, monkeypatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(tf.saved_model, "save", broken)
    settings = dataclasses.replace(TINY, steps=1, eval_every=1)
    with pytest.raises(OSError, match="no space left"):
        train.train(dataset_path=str(dataset), model_path=str(tmp_path / "m"), settings=settings)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e9])
def test_a_loss_that_is_not_finite_or_explodes_ends_the_run_without_a_model(
    dataset, tmp_path, monkeypatch, bad: float
) -> None:
    losses = iter([(0.5, 1.0), (0.4, 1.0), (bad, 1.0)])
    monkeypatch.setattr(CompiledSteps, "train_step", lambda self, batch, step: next(losses))
    with pytest.raises(TrainingDivergedError, match=r"at step 3.*train\.learning_rate"):
        train.train(dataset_path=str(dataset), model_path=str(tmp_path / "m"), settings=TINY)
    assert not (tmp_path / "m").exists()


def test_no_cluster_is_named(monkeypatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(UsageError, match=r"multi_worker: wanted a cluster.*found 0 in TF_CONFIG"):
        resolve_strategy("multi_worker")


@pytest.mark.parametrize(
    ("task", "chief"),
    [
        (None, True),
        ({"type": "worker", "index": 0}, True),
        ({"type": "worker", "index": 1}, False),
    ],
)
def test_one_process_of_a_cluster_writes(monkeypatch, task: dict | None, chief: bool) -> None:
    cluster = {"worker": ["a:1", "b:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task} if task else {}))
    assert is_chief() == chief


def test_with_a_chief_in_the_cluster_worker_0_does_not_write(monkeypatch) -> None:
    """As Vertex AI sets it."""
    cluster = {"chief": ["a:1"], "worker": ["b:1"]}
    for kind in ("chief", "worker"):
        task = {"type": kind, "index": 0}
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
        assert is_chief() == (kind == "chief")


@pytest.mark.parametrize("head", HEADS)
def test_the_best_weights_are_all_of_the_models(tmp_path, head: HeadName) -> None:
    keras.utils.set_random_seed(0)
    model = NextFrameModel(n_mels=8, settings=dataclasses.replace(TINY, head=head))
    best = [weight.numpy().copy() for weight in model.weights]
    checkpoints = Checkpoints(str(tmp_path), model=model, optimizer=keras.optimizers.Adam())
    checkpoints.save_best(3)
    for weight in model.weights:
        weight.assign(weight + 1.0)
    checkpoints.restore_best(RunState(best={"step": 3}))
    for weight, wanted in zip(model.weights, best, strict=True):
        np.testing.assert_array_equal(weight, wanted, err_msg=weight.path)


def test_a_model_knows_how_far_the_training_music_departs_from_an_anchor(
    dataset, model, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(drift, "_PASSAGE_FRAMES", 32)
    settings = dataclasses.replace(TINY, head="mixture", steps=1)
    normaliser = Normaliser.from_graph(
        f"{model}/{contract.TRANSFORM_GRAPH}", floor=settings.model_floor
    )
    opened = open_dataset(str(dataset))
    made, _ = train.fit(opened, normaliser, settings, folder=str(tmp_path), write_logs=False)
    stretches = [normaliser.apply(each).numpy() for each in read_chunks(opened, contract.TRAIN)]
    expected = drift.StyleDrift(32)
    expected.adapt(stretches, anchor_frames=settings.anchor)
    assert float(tf.reduce_max(expected.final_spread)) > 0
    for name in ("median_shift", "initial_spread", "final_spread"):
        np.testing.assert_array_equal(getattr(made.style_drift, name), getattr(expected, name))


def test_training_ends_when_patience_does(dataset, tmp_path, monkeypatch) -> None:
    held_out = iter([3.0, 2.0, 2.5, 2.4, 1.0])
    monkeypatch.setattr(CompiledSteps, "evaluate", lambda self, batches: next(held_out))
    settings = dataclasses.replace(TINY, steps=100, eval_every=2, patience=2)
    info = train.train(dataset_path=str(dataset), model_path=str(tmp_path / "m"), settings=settings)
    assert info["metrics"]["step"] == 4
    history = json.loads((tmp_path / "m" / contract.HISTORY).read_text())
    assert history["steps"] == 8


def test_a_training_is_watched_in_tensorboard(model) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seen = EventAccumulator(str(model / contract.TENSORBOARD), size_guidance={"tensors": 0})
    seen.Reload()
    names = set(seen.Tags()["tensors"])
    assert {"loss", "eval_loss", "gradient_norm", "learning_rate"} <= names
    assert {"real", "next_frame", "free_run", "free_run_sound"} <= names
    (first, *_) = seen.Tensors("free_run_sound")
    sound, _label = tf.make_ndarray(first.tensor_proto)[0]
    samples, rate = tf.audio.decode_wav(sound)
    assert rate == 22050
    assert float(tf.reduce_max(tf.abs(samples))) > 1e-4
    history = json.loads((model / contract.HISTORY).read_text())
    losses = [tf.make_ndarray(event.tensor_proto) for event in seen.Tensors("loss")]
    np.testing.assert_allclose(losses, [row["loss"] for row in history["epochs"]], rtol=1e-6)


@pytest.mark.parametrize("name", ["gpu", "multi_gpu", "tpu"])
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    if name != "tpu" and tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    with pytest.raises(UsageError, match=rf"train\.strategy={name}: wanted a .PU"):
        resolve_strategy(name)


def test_the_model_stands_alone(model, tmp_path) -> None:
    """Plain TensorFlow in a process that cannot import the project loads and runs it."""
    import subprocess
    import sys

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
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "moved")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert "(1, 3, 32)" in done.stdout, done.stderr[-2000:]

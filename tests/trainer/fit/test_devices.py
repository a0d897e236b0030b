"""Devices: which are used, and that they all train the same model."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from audio.errors import UsageError
from tests.support.tiny import TINY
from trainer.data.normaliser import Normaliser
from trainer.data.windows import open_dataset
from trainer.fit import train
from trainer.fit.devices import is_chief, resolve_strategy
from trainer.fit.steps import CompiledSteps
from trainer.settings import HeadName

ROOT = pathlib.Path(__file__).parents[3]


@pytest.mark.parametrize("name", ["gpu", "multi_gpu", "tpu"])
def test_resolve_strategy_names_a_missing_device(name: str) -> None:
    if name != "tpu" and tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    with pytest.raises(UsageError, match=rf"train\.strategy={name}: wanted a .PU"):
        resolve_strategy(name)


def test_resolve_strategy_names_a_missing_cluster(monkeypatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(UsageError, match=r"multi_worker: wanted a cluster.*found 0 in TF_CONFIG"):
        resolve_strategy("multi_worker")


@pytest.mark.parametrize(
    ("cluster", "task", "chief"),
    [
        ({"worker": ["a:1", "b:1"]}, None, True),
        ({"worker": ["a:1", "b:1"]}, {"type": "worker", "index": 0}, True),
        ({"worker": ["a:1", "b:1"]}, {"type": "worker", "index": 1}, False),
        # As Vertex AI sets it.
        ({"chief": ["a:1"], "worker": ["b:1"]}, {"type": "chief", "index": 0}, True),
        ({"chief": ["a:1"], "worker": ["b:1"]}, {"type": "worker", "index": 0}, False),
    ],
)
def test_is_chief(monkeypatch, cluster: dict, task: dict | None, chief: bool) -> None:
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task} if task else {}))
    assert is_chief() == chief


def fit(dataset: str, folder: str, strategy: tf.distribute.Strategy) -> dict[str, Any]:
    """Fits a model without random numbers: its losses, and the number of devices."""
    settings = dataclasses.replace(TINY, steps=6, eval_every=3, dropout=0.0, input_noise=0.0)
    flat = tf.zeros([32])
    normaliser = Normaliser(mean=flat - 4, std=flat + 3, highest=flat + 4, floor=-8.0)
    losses: list[float] = []
    _, history = train.fit(
        open_dataset(dataset),
        normaliser,
        settings,
        folder=folder,
        write_logs=False,
        progress=lambda step, total, loss: losses.append(loss),
        strategy=strategy,
    )
    return {"losses": losses, "devices": history["devices"]}


# Devices are configured, and workers meet, before TensorFlow does anything else: in new processes.
_TWO_DEVICES = """
import json, sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
"""
_WORKER = """
import json, sys
from trainer.fit.devices import resolve_strategy
strategy = resolve_strategy("multi_worker")
"""
_FIT = """
from tests.trainer.fit.test_devices import fit
print(json.dumps(fit(*sys.argv[1:], strategy)))
"""


def start(code: str, dataset: pathlib.Path, folder: pathlib.Path, **environment: str):
    return subprocess.Popen(
        [sys.executable, "-c", code + _FIT, str(dataset), str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    return result


@pytest.fixture(scope="module")
def one_device(dataset, tmp_path_factory) -> dict[str, Any]:
    return fit(str(dataset), str(tmp_path_factory.mktemp("one") / "run"), resolve_strategy("cpu"))


@pytest.mark.slow
def test_fit_on_two_devices_equals_one(dataset, tmp_path, one_device) -> None:
    two_devices = finish(start(_TWO_DEVICES, dataset, tmp_path / "run"))
    assert (one_device["devices"], two_devices["devices"]) == (1, 2)
    np.testing.assert_allclose(two_devices["losses"], one_device["losses"], rtol=2e-5)


@pytest.mark.slow
def test_fit_in_two_workers_equals_one_device(dataset, tmp_path, one_device) -> None:
    ports = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    cluster = {"worker": [f"localhost:{port}" for port in ports]}
    configs = [
        json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
        for index in range(2)
    ]
    processes = [
        start(_WORKER, dataset, tmp_path / f"run{index}", TF_CONFIG=config)
        for index, config in enumerate(configs)
    ]
    try:
        results = [finish(process) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for result in results:
        assert result["devices"] == 2
        np.testing.assert_allclose(result["losses"], one_device["losses"], rtol=2e-5)
    assert not (tmp_path / "run1").exists()  # only the chief keeps the run's state


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "chance", "precision"),
    [
        ("mse", 0.0, "float32"),
        ("mse", 0.1, "bfloat16"),
        ("mixture", 0.0, "float32"),
        ("mixture", 0.1, "bfloat16"),
    ],
)
def test_train_on_device_compiles_under_xla(head: HeadName, chance: float, precision: Any) -> None:
    """What can be shown of a TPU without one: static shapes, and no operation that XLA lacks."""
    settings = dataclasses.replace(
        TINY,
        head=head,
        dropout=chance,
        input_noise=chance,
        precision=precision,
        learning_rate=1e-3,
    )
    batch = tf.random.stateless_normal([4, settings.anchor + 64, 32], seed=[1, 2])
    losses, weights = [], []
    for jit_compile in (False, True):
        keras.utils.set_random_seed(0)
        steps = CompiledSteps(tf.distribute.OneDeviceStrategy("/cpu:0"), 32, settings)
        steps.model.adapt([batch.numpy()])
        step = tf.function(steps.train_on_device, jit_compile=jit_compile)
        losses.append([float(step(batch, index)[0]) for index in tf.range(1, 4, dtype=tf.int64)])
        weights.append([weight.numpy() for weight in steps.model.trainable_variables])
    # XLA draws other numbers from the same seeds, and fuses what lies between bfloat16 products.
    exact = not chance and precision == "float32"
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5 if exact else 0.01)
    if exact:
        for compiled, plain in zip(weights[1], weights[0], strict=True):
            np.testing.assert_allclose(compiled, plain, atol=1e-4)


@pytest.mark.slow
def test_train_steps_equal_repeated_train_step() -> None:
    batches = tf.data.Dataset.from_tensor_slices(
        tf.random.stateless_normal([5, 4, 64, 32], seed=[1, 2])
    )

    def compiled_steps() -> CompiledSteps:
        keras.utils.set_random_seed(0)
        return CompiledSteps(tf.distribute.OneDeviceStrategy("/cpu:0"), 32, TINY)

    steps = compiled_steps()
    expected = [
        float(steps.train_step(batch, tf.constant(index, tf.int64))[0])
        for index, batch in enumerate(batches, 1)
    ]
    first, count = tf.constant(1, tf.int64), tf.constant(5)
    losses, _ = compiled_steps().train_steps(iter(batches), first, count)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)

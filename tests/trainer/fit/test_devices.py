"""One global batch on one device, on two, and in two processes: the same losses."""

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

from tests.support.tiny import TINY
from trainer.fit.steps import CompiledSteps
from trainer.settings import HeadName

ROOT = pathlib.Path(__file__).parents[3]
JOB = """
import dataclasses, json, sys
import tensorflow as tf
dataset, folder, kind = sys.argv[1:]
if kind == "two devices":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tests.support.tiny import TINY
from trainer.fit import train
from trainer.data.windows import open_dataset
from trainer.fit.devices import resolve_strategy
settings = dataclasses.replace(TINY, steps=6, eval_every=3, dropout=0.0, input_noise=0.0,
                               strategy="multi_worker" if kind == "two workers" else "cpu")
strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"]) if kind == "two devices" else None
if kind == "two workers":
    strategy = resolve_strategy("multi_worker")  # before anything else runs
from trainer.data.normaliser import Normaliser
flat = tf.zeros([32])
normaliser = Normaliser(mean=flat - 4, std=flat + 3, highest=flat + 4, floor=-8.0)
losses = []
_, history = train.fit(open_dataset(dataset), normaliser, settings, folder=folder,
                     strategy=strategy,
                     progress=lambda step, total, loss: losses.append(loss))
print(json.dumps({"losses": losses, "history": history}))
"""


def job(dataset: pathlib.Path, folder: pathlib.Path, kind: str, **environment: str):
    return subprocess.Popen(
        [sys.executable, "-c", JOB, str(dataset), str(folder), kind],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def result(process: subprocess.Popen[str]) -> dict:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.splitlines()[-1])


@pytest.fixture(scope="module")
def one(dataset, tmp_path_factory) -> dict:
    return result(job(dataset, tmp_path_factory.mktemp("one") / "run", "one device"))


@pytest.mark.slow
def test_two_devices_train_as_one(dataset, tmp_path, one) -> None:
    two = result(job(dataset, tmp_path / "run", "two devices"))
    assert (one["history"]["devices"], two["history"]["devices"]) == (1, 2)
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=2e-5)


@pytest.mark.slow
def test_two_workers_train_as_one(dataset, tmp_path, one) -> None:
    ports = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    workers = [f"localhost:{port}" for port in ports]
    started = [
        job(
            dataset,
            tmp_path / f"run{index}",
            "two workers",
            TF_CONFIG=json.dumps(
                {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
            ),
        )
        for index in range(2)
    ]
    try:
        found = [result(process) for process in started]
    finally:
        for process in started:
            process.kill()
    assert found[0]["history"]["devices"] == 2
    for each in found:
        np.testing.assert_allclose(each["losses"], one["losses"], rtol=2e-5)
    assert not (tmp_path / "run1").exists()  # only the chief keeps the run's state


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "chance", "precision"),
    [
        ("mse", 0.0, "float32"),
        ("mse", 0.1, "float32"),
        ("mse", 0.0, "bfloat16"),
        ("mixture", 0.0, "float32"),
        ("mixture", 0.1, "bfloat16"),
    ],
)
def test_the_training_step_compiles_under_xla_and_gives_the_same(
    head: HeadName, chance: float, precision: Any
) -> None:
    """The part of a TPU that can be shown without one: static shapes, no op that XLA lacks."""
    settings = dataclasses.replace(
        TINY,
        head=head,
        dropout=chance,
        input_noise=chance,
        precision=precision,
        learning_rate=1e-3,
    )
    batch = tf.random.stateless_normal([4, settings.anchor + 64, 32], seed=[1, 2])
    found = []
    for jit in (False, True):
        keras.utils.set_random_seed(0)
        loop = CompiledSteps(tf.distribute.OneDeviceStrategy("/cpu:0"), 32, settings)
        loop.model.adapt([batch.numpy()])
        compiled = tf.function(loop.train_on_device, jit_compile=jit)
        steps = tf.range(1, 4, dtype=tf.int64)
        losses = [float(compiled(batch, step)[0]) for step in steps]
        found.append((losses, [w.numpy() for w in loop.model.trainable_variables]))
    # XLA draws other numbers from the same seeds, and fuses what lies between bfloat16 products.
    exact = not chance and precision == "float32"
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-5 if exact else 0.01)
    if exact:
        for ours, theirs in zip(found[1][1], found[0][1], strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.slow
def test_several_steps_in_one_execution_are_the_steps_one_by_one() -> None:
    batches = tf.data.Dataset.from_tensor_slices(
        tf.random.stateless_normal([5, 4, 64, 32], seed=[1, 2])
    )
    found = []
    for together in (False, True):
        keras.utils.set_random_seed(0)
        loop = CompiledSteps(tf.distribute.OneDeviceStrategy("/cpu:0"), 32, TINY)
        if together:
            first, count = tf.constant(1, tf.int64), tf.constant(5)
            found.append(loop.train_steps(iter(batches), first, count)[0].numpy())
        else:
            found.append(
                [
                    float(loop.train_step(batch, tf.constant(step, tf.int64))[0])
                    for step, batch in enumerate(batches, 1)
                ]
            )
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)

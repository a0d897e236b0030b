"""Which devices train: one place that knows, and says so when they are not there."""

from __future__ import annotations

import json
import os
from typing import Any

import tensorflow as tf

from audio.errors import UsageError


def resolve_strategy(name: str) -> tf.distribute.Strategy:
    """Returns the distribution strategy for a value of train.strategy.

    `auto` takes all GPUs, or the CPU where there is none; a TPU must be asked for.

    Raises:
      UsageError: the devices asked for are not there.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if name == "auto":
        name = "multi_gpu" if len(gpus) > 1 else "gpu" if gpus else "cpu"
    if name == "cpu":
        return tf.distribute.OneDeviceStrategy("/cpu:0")
    if name == "tpu":
        return _tpu()
    if name == "multi_worker":
        return _multi_worker()
    if not gpus:
        raise UsageError(
            f"train.strategy={name}: wanted a GPU that TensorFlow sees, found none. Install the "
            "CUDA build of TensorFlow and its driver, or set train.strategy=cpu."
        )
    if name == "gpu":
        return tf.distribute.OneDeviceStrategy("/gpu:0")
    return tf.distribute.MirroredStrategy(
        [device.name.split("physical_device:")[-1] for device in gpus]
    )


def is_chief() -> bool:
    """Whether this process writes checkpoints and the model: the only one, chief or worker 0."""
    found = _cluster()
    task = found.get("task", {})
    if "chief" in found.get("cluster", {}):
        return bool(task.get("type") == "chief")
    return int(task.get("index", 0)) == 0


def _cluster() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(os.environ.get("TF_CONFIG") or "{}")
    return found


def _multi_worker() -> tf.distribute.Strategy:
    cluster = _cluster().get("cluster", {})
    workers = [*cluster.get("chief", []), *cluster.get("worker", [])]
    if len(workers) < 2:
        raise UsageError(
            "train.strategy=multi_worker: wanted a cluster of two workers or more, found "
            f"{len(workers)} in TF_CONFIG. Set it for every worker (its cluster and task, see "
            "TensorFlow's guide to multi-worker training), or set train.strategy=auto."
        )
    return tf.distribute.MultiWorkerMirroredStrategy()


def _tpu() -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise UsageError(
            "train.strategy=tpu: wanted a TPU, found none that TensorFlow can reach "
            f"({str(error).splitlines()[0][:120]}). Run on a TPU VM or set TPU_NAME, or set "
            "train.strategy=auto."
        ) from error
    return tf.distribute.TPUStrategy(resolver)

"""The devices that a training run uses."""

from __future__ import annotations

import json
import os
from typing import Any

import tensorflow as tf

from audio.errors import UsageError


def resolve_strategy(name: str) -> tf.distribute.Strategy:
    """Returns the distribution strategy for a value of train.strategy.

    `auto` uses all GPUs, or the CPU if there is none. A TPU is used only by name.

    Raises:
      UsageError: The devices do not exist.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if name == "auto":
        name = "multi_gpu" if len(gpus) > 1 else "gpu" if gpus else "cpu"
    if name == "cpu":
        return tf.distribute.OneDeviceStrategy("/cpu:0")
    if name == "tpu":
        return _tpu_strategy()
    if name == "multi_worker":
        return _multi_worker_strategy()
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
    """Returns whether this process writes checkpoints and the model.

    That is the only process, or the chief of a cluster, or worker 0 of a cluster without one.
    """
    config = _cluster_config()
    task = config.get("task", {})
    if "chief" in config.get("cluster", {}):
        return bool(task.get("type") == "chief")
    return int(task.get("index", 0)) == 0


def _cluster_config() -> dict[str, Any]:
    config: dict[str, Any] = json.loads(os.environ.get("TF_CONFIG") or "{}")
    return config


def _multi_worker_strategy() -> tf.distribute.Strategy:
    cluster = _cluster_config().get("cluster", {})
    workers = [*cluster.get("chief", []), *cluster.get("worker", [])]
    if len(workers) < 2:
        raise UsageError(
            "train.strategy=multi_worker: wanted a cluster of two workers or more, found "
            f"{len(workers)} in TF_CONFIG. Set it for every worker (its cluster and task, see "
            "TensorFlow's guide to multi-worker training), or set train.strategy=auto."
        )
    return tf.distribute.MultiWorkerMirroredStrategy()


def _tpu_strategy() -> tf.distribute.Strategy:
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

"""The entry that TFX's Trainer calls: wiring only.

custom_config holds `train` (the fields of TrainSettings), `config_yaml` and `code_version`; the
last is there so that TFX's cache notices changed code.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from trainer import fit
from trainer.settings import TrainSettings


def run_fn(fn_args: Any) -> None:
    """Trains on the examples of fn_args and exports to its serving_model_dir."""
    # TFX gives the splits' patterns, DATASET/Split-train/*: what is before is the dataset.
    dataset_path = fn_args.train_files[0].rpartition("/Split-")[0]
    config = fn_args.custom_config
    if tf.io.gfile.exists(fn_args.serving_model_dir):
        tf.io.gfile.rmtree(fn_args.serving_model_dir)  # TFX makes it, empty
    tf.io.gfile.makedirs(fn_args.serving_model_dir.rpartition("/")[0])
    fit.train(
        dataset_path=dataset_path,
        model_path=fn_args.serving_model_dir,
        settings=TrainSettings(**config["train"]),
        transform_graph=fn_args.transform_output,
        effective_config=config["config_yaml"],
        progress=fit.listener,
        # NODE/model/EXECUTION/Format-Serving: a retry is another execution of the same node.
        work_path=fn_args.serving_model_dir.rstrip("/").rsplit("/", 3)[0] + "/training",
    )

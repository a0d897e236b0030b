"""The functions that TFX's Trainer and Tuner call.

custom_config holds `train` (the fields of TrainSettings) and `code_version` (not read here; TFX's
cache sees by it that the code has changed). For the Trainer it also holds `config_yaml`, for the
Tuner `tune` (the fields of TuneSettings) and `state`, a folder that outlives an attempt.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
from typing import Any

import tensorflow as tf

from trainer.data.normaliser import Normaliser
from trainer.data.windows import open_dataset
from trainer.fit import train
from trainer.settings import LATEST, TrainSettings, TuneSettings


def run_fn(fn_args: Any) -> None:
    """Trains on the examples of fn_args and exports to its serving_model_dir."""
    config = fn_args.custom_config
    tuned = (fn_args.hyperparameters or {}).get("values", {})
    settings = TrainSettings(**{**config["train"], **tuned})
    if settings.warm_start == LATEST:
        settings = dataclasses.replace(settings, warm_start=fn_args.base_model or "")
    if tf.io.gfile.exists(fn_args.serving_model_dir):
        tf.io.gfile.rmtree(fn_args.serving_model_dir)  # an empty folder that TFX made
    tf.io.gfile.makedirs(fn_args.serving_model_dir.rpartition("/")[0])
    train.train(
        dataset_path=_dataset_path(fn_args),
        model_path=fn_args.serving_model_dir,
        settings=settings,
        transform_graph=fn_args.transform_output,
        effective_config=config["config_yaml"],
        progress=train.listener,
        # The path is NODE/model/EXECUTION/Format-Serving. A retry is another execution of the same
        # node, so the state is kept in the node's folder.
        work_path=fn_args.serving_model_dir.rstrip("/").rsplit("/", 3)[0] + "/training",
    )


def tuner_fn(fn_args: Any) -> types.SimpleNamespace:
    """Returns a search for hyperparameters on the examples of fn_args, in the form TFX expects."""
    from trainer.fit.tuner import NextFrameTuner

    config = fn_args.custom_config
    settings = dataclasses.replace(TrainSettings(**config["train"]), warm_start="")
    tune = TuneSettings(**config["tune"])
    dataset = open_dataset(_dataset_path(fn_args))
    normaliser = Normaliser.from_graph(fn_args.transform_graph_path, floor=settings.model_floor)
    key = hashlib.sha256(
        json.dumps([train.run_key(dataset, normaliser, settings), config["tune"]]).encode()
    ).hexdigest()[:12]
    tuner = NextFrameTuner(
        dataset,
        normaliser,
        settings,
        tune,
        folder=f"{config['state']}/{key}",
        progress=train.listener,
    )
    return types.SimpleNamespace(tuner=tuner, fit_kwargs={})


def _dataset_path(fn_args: Any) -> str:
    # TFX gives a pattern for each split, DATASET/Split-train/*.
    path: str = fn_args.train_files[0].rpartition("/Split-")[0]
    return path

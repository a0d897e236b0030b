"""The training pipeline: audio files -> a pushed model, or the reasons why there is none.

AudioExampleGen -> StatisticsGen -> ExampleValidator <- schema
       |                                                  |
       +--------------> Transform <-----------------------+
       |                    |
       +-------> Trainer <--+------ Tuner (tune.trials), LatestBlessedModel (train.warm_start)
       |            |
       +-> Evaluator -> Pusher
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from tfx.components import ExampleValidator, Pusher, StatisticsGen, Trainer, Transform, Tuner
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2, trainer_pb2
from tfx.types import standard_artifacts

from audio import contract
from beam_transforms.settings import inputs_fingerprint
from beam_transforms.sources import find_sources
from beam_transforms.staging import decoder_versions
from pipeline.components.code_fingerprint import node_fingerprint
from pipeline.components.evaluator import Evaluator
from pipeline.components.example_gen import AudioExampleGen
from pipeline.components.latest_blessed_model import latest_blessed_model
from pipeline.config.load import Config
from pipeline.root.paths import PIPELINE_NAME, Layout
from trainer.settings import LATEST

_SCHEMA = pathlib.Path(__file__).with_name("schema")


def training_pipeline(*, inputs: Sequence[str], layout: Layout, config: Config) -> Pipeline:
    """Returns the pipeline for the inputs as they are now.

    Without inputs, the first node cannot run. The other nodes can, because they do not read them.

    Raises:
      InputError: There is no audio.
    """
    import tensorflow_data_validation as tfdv

    # The parameters of a node are part of its cache key, so each node gets only the sections of
    # the configuration that affect its result.
    example_gen = AudioExampleGen(
        inputs=json.dumps(list(inputs)),
        inputs_fingerprint=inputs_fingerprint(find_sources(inputs)) if inputs else "",
        audio=config.audio.to_json(),
        prepare=_json(config.prepare),
        config_yaml=_only(config, "audio", "prepare"),
        code_version=" ".join([node_fingerprint("AudioExampleGen"), *decoder_versions().values()]),
    )
    examples = example_gen.outputs["examples"]
    statistics_gen = StatisticsGen(
        examples=examples,
        stats_options=tfdv.StatsOptions(feature_allowlist=list(contract.FIGURES)),
    )
    schema = Importer(source_uri=str(_SCHEMA), artifact_type=standard_artifacts.Schema).with_id(
        "Schema"
    )
    validator = ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema.outputs["result"]
    )
    transform = Transform(
        examples=examples,
        schema=schema.outputs["result"],
        preprocessing_fn="trainer.data.transform_graph.preprocessing_fn",
        custom_config={
            "n_mels": config.audio.n_mels,
            "model_floor": config.train.model_floor,
            "code_version": node_fingerprint("Transform"),
        },
        materialize=False,
        disable_statistics=True,
    )
    tuner = _tuner(examples, transform, layout, config)
    base = latest_blessed_model() if config.train.warm_start == LATEST else None
    trainer = Trainer(
        run_fn="trainer.run_fn.run_fn",
        examples=examples,
        transform_graph=transform.outputs["transform_graph"],
        hyperparameters=tuner and tuner.outputs["best_hyperparameters"],
        base_model=base and base.outputs["model"],
        train_args=trainer_pb2.TrainArgs(num_steps=config.train.steps),
        eval_args=trainer_pb2.EvalArgs(),
        custom_config={
            "train": dataclasses.asdict(config.train),
            "config_yaml": _only(config, "audio", "prepare", "train", "tune"),
            "code_version": node_fingerprint("Trainer"),
        },
    )
    evaluator = Evaluator(
        model=trainer.outputs["model"],
        examples=examples,
        evaluate=_json(config.evaluate),
        code_version=node_fingerprint("Evaluator"),
    )
    pusher = Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=layout.pushed)
        ),
    )
    return Pipeline(
        pipeline_name=PIPELINE_NAME,
        pipeline_root=layout.artifacts,
        components=[
            example_gen,
            statistics_gen,
            schema,
            validator,
            transform,
            *(node for node in (tuner, base) if node),
            trainer,
            evaluator,
            pusher,
        ],
        enable_cache=True,
        beam_pipeline_args=layout.beam_args(config.beam.args),
    )


def _tuner(examples: Any, transform: Transform, layout: Layout, config: Config) -> Tuner | None:
    """Returns the node that searches for hyperparameters, or None if it is switched off."""
    if not config.tune.trials:
        return None
    return Tuner(
        tuner_fn="trainer.run_fn.tuner_fn",
        examples=examples,
        transform_graph=transform.outputs["transform_graph"],
        train_args=trainer_pb2.TrainArgs(num_steps=config.tune.steps),
        eval_args=trainer_pb2.EvalArgs(),
        custom_config={
            "train": dataclasses.asdict(config.train),
            "tune": dataclasses.asdict(config.tune),
            "state": f"{layout.artifacts}/Tuner/state",
            "code_version": node_fingerprint("Tuner"),
        },
    )


def _json(section: object) -> str:
    return json.dumps(dataclasses.asdict(section), sort_keys=True)  # type: ignore[call-overload]


def _only(config: Config, *sections: str) -> str:
    """Returns the YAML of a configuration with the defaults in all other sections."""
    kept = {name: getattr(config, name) for name in sections}
    return Config(**kept).to_yaml()

"""The training pipeline: audio files -> a pushed model, with a reason where there is none.

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
from pipeline.components.code_fingerprint import code_fingerprint
from pipeline.components.evaluator import Evaluator
from pipeline.components.example_gen import AudioExampleGen
from pipeline.components.latest_blessed_model import latest_blessed_model
from pipeline.config.load import Config
from pipeline.root.paths import PIPELINE_NAME, Layout
from trainer.settings import LATEST

_SCHEMA = pathlib.Path(__file__).with_name("schema")


def training_pipeline(*, inputs: Sequence[str], layout: Layout, config: Config) -> Pipeline:
    """Returns the pipeline over the inputs as they are now.

    Without inputs its first node cannot run, but those after it can: they do not look at them.

    Raises:
      InputError: there is no audio.
    """
    import tensorflow_data_validation as tfdv

    # The configuration takes part in a node's cache key only by the section that the node reads;
    # the full text goes to the first node, and beside each result from there.
    example_gen = AudioExampleGen(
        inputs=json.dumps(list(inputs)),
        inputs_fingerprint=inputs_fingerprint(find_sources(inputs)) if inputs else "",
        audio=config.audio.to_json(),
        prepare=_json(config.prepare),
        config_yaml=_only(config, "audio", "prepare"),
        code_version=code_fingerprint("audio", "beam_transforms"),
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
            "code_version": code_fingerprint("trainer"),
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
            "code_version": code_fingerprint("audio", "trainer"),
        },
    )
    evaluator = Evaluator(
        model=trainer.outputs["model"],
        examples=examples,
        evaluate=_json(config.evaluate),
        code_version=code_fingerprint("audio", "trainer", "generator", "pipeline"),
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
    """Returns the search before the training, where one is asked for."""
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
            "code_version": code_fingerprint("audio", "trainer"),
        },
    )


def _json(section: object) -> str:
    return json.dumps(dataclasses.asdict(section), sort_keys=True)  # type: ignore[call-overload]


def _only(config: Config, *sections: str) -> str:
    """Returns the YAML of a configuration whose other sections are the defaults."""
    kept = {name: getattr(config, name) for name in sections}
    return Config(**kept).to_yaml()

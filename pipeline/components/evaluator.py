"""Evaluator: model and examples -> blessing, as a TFX component around pipeline.evaluation."""

from __future__ import annotations

import json
import pathlib
import tempfile
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact, artifact_utils, component_spec, standard_artifacts
from tfx.utils import path_utils

from pipeline.config.sections import EvaluateSettings
from pipeline.evaluation.evaluate import evaluate, find_last_blessed
from pipeline.evaluation.verdict import PICTURES, REPORT
from storage import files


class Evaluation(artifact.Artifact):
    """The verdict in full: evaluation.json and pictures."""

    TYPE_NAME = "nocturne.Evaluation"


class EvaluatorSpec(types.ComponentSpec):
    """Parameters, inputs and outputs of Evaluator."""

    PARAMETERS = {
        "evaluate": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        "evaluation": component_spec.ChannelParameter(type=Evaluation),
    }


class EvaluatorExecutor(base_executor.BaseExecutor):
    """Evaluates the model and writes the blessing in the form that Pusher and Resolver read."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Runs the evaluation. TFX calls this method."""
        model = artifact_utils.get_single_instance(input_dict["model"])
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        evaluation = artifact_utils.get_single_instance(output_dict["evaluation"])
        with tempfile.TemporaryDirectory() as pictures:  # the artifact may be in a bucket
            verdict = evaluate(
                path_utils.serving_model_path(model.uri),
                examples.uri,
                EvaluateSettings(**json.loads(exec_properties["evaluate"])),
                last_blessed=find_last_blessed(_earlier_reports(evaluation.uri)),
                pictures=pathlib.Path(pictures),
            )
            files.copy_tree(pictures, f"{evaluation.uri}/{PICTURES}")
        files.write_text(f"{evaluation.uri}/{REPORT}", verdict.to_json())
        name = "BLESSED" if verdict.blessed else "NOT_BLESSED"
        reasons = "\n".join([verdict.sentence, verdict.advice, *verdict.reasons])
        files.write_text(f"{blessing.uri}/{name}", reasons)
        blessing.set_string_custom_property("outcome", verdict.outcome)
        blessing.set_int_custom_property("blessed", int(verdict.blessed))
        blessing.set_string_custom_property("current_model", model.uri)
        blessing.set_int_custom_property("current_model_id", model.id)
        blessing.set_string_custom_property("reasons", reasons)


def _earlier_reports(uri: str) -> list[str]:
    """Returns the paths of the reports of earlier executions, oldest first.

    TFX numbers the executions of a node and gives each a folder next to the others. The last
    blessing is not an input of the node, because inputs are part of the cache key: after each new
    blessing, the same model would be evaluated again.
    """
    parent, _, own = uri.rstrip("/").rpartition("/")
    names = [name.rstrip("/") for name in fileio.listdir(parent)]  # in a bucket, folders end in /
    numbers = sorted(int(name) for name in names if name.isdigit() and name != own)
    return [f"{parent}/{number}/{REPORT}" for number in numbers]


class Evaluator(base_component.BaseComponent):
    """Blesses a model or refuses it, with reasons."""

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(EvaluatorExecutor)

    def __init__(
        self, *, model: types.BaseChannel, examples: types.BaseChannel, **parameters: str
    ) -> None:
        """Makes the node from its input channels and the parameters of EvaluatorSpec."""
        super().__init__(
            spec=EvaluatorSpec(
                model=model,
                examples=examples,
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
                evaluation=types.Channel(type=Evaluation),
                **parameters,
            )
        )

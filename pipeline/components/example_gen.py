"""AudioExampleGen: audio files -> Examples, so that the history of a clip begins with the audio.

The executor runs beam_transforms. The artifact's folder is a prepared dataset like that of
`nocturne prepare`, and `nocturne train --dataset` accepts it, too.
"""

from __future__ import annotations

import json
from typing import Any

from absl import logging
from tfx import types
from tfx.components.example_gen import utils as example_gen_utils
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, component_spec, standard_artifacts

from audio import contract
from audio.config import AudioConfig
from audio.errors import InputError
from beam_transforms.finish import check_finished
from beam_transforms.prepare import PrepareDataset, start_dataset
from beam_transforms.settings import PrepareSettings, inputs_fingerprint
from beam_transforms.sources import scan_inputs
from beam_transforms.staging import FOLDER
from storage import faults, files
from storage.locks import exclusive


class AudioExampleGenSpec(types.ComponentSpec):
    """Parameters and outputs of AudioExampleGen."""

    PARAMETERS = {
        "inputs": component_spec.ExecutionParameter(type=str),
        "inputs_fingerprint": component_spec.ExecutionParameter(type=str),
        "audio": component_spec.ExecutionParameter(type=str),
        "prepare": component_spec.ExecutionParameter(type=str),
        "config_yaml": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict[str, Any] = {}
    OUTPUTS = {"examples": component_spec.ChannelParameter(type=standard_artifacts.Examples)}


class AudioExampleGenExecutor(base_beam_executor.BaseBeamExecutor):
    """Prepares the inputs into the artifact's folder."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Runs the Beam job. TFX calls this method."""
        del input_dict
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        sources, passed_over = scan_inputs(json.loads(exec_properties["inputs"]))
        if inputs_fingerprint(sources) != exec_properties["inputs_fingerprint"]:
            raise InputError("the input files changed while the pipeline was starting. Run again.")
        audio = AudioConfig.from_json(exec_properties["audio"])
        settings = PrepareSettings(**json.loads(exec_properties["prepare"]))
        # This folder is the same for every attempt, so that a retry finds what was decoded.
        shared = files.join(
            _node_folder(examples.uri), "staging", exec_properties["inputs_fingerprint"]
        )
        folder = files.join(shared, FOLDER)
        previous = _previous_version(examples.uri)
        # Runs with the same inputs share the folder.
        with exclusive(shared), faults.named(examples.uri):
            start_dataset(
                examples.uri,
                sources,
                audio=audio,
                settings=settings,
                effective_config=exec_properties["config_yaml"],
                previous=previous,
                staging_folder=folder,
                passed_over=passed_over,
            )
            with self._make_beam_pipeline() as pipeline:
                pipeline | PrepareDataset(
                    output=examples.uri,
                    audio=audio,
                    settings=settings,
                    previous=previous,
                    staging_folder=folder,
                )
            info = check_finished(examples.uri, settings, staging_folder=folder)
        examples.split_names = artifact_utils.encode_split_names(list(contract.SPLITS))
        examples.set_string_custom_property(
            example_gen_utils.PAYLOAD_FORMAT_PROPERTY_NAME,
            example_gen_pb2.PayloadFormat.Name(example_gen_pb2.FORMAT_TF_EXAMPLE),
        )
        examples.set_string_custom_property("dataset_id", info["dataset_id"])
        examples.set_string_custom_property("fingerprint", info["fingerprint"])
        logging.info("Prepared dataset %s at %s", info["dataset_id"], examples.uri)


def _node_folder(uri: str) -> str:
    """Returns the folder NODE of an artifact in NODE/examples/EXECUTION."""
    return uri.rstrip("/").rsplit("/", 2)[0]


def _previous_version(uri: str) -> str | None:
    """Returns the newest finished dataset of an earlier execution, or None.

    It is found by its folder. If it were an input of the node, it would be part of the cache key,
    and no run could ever be taken from the cache.
    """
    parent, _, own = uri.rstrip("/").rpartition("/")
    names = [path.split("/")[-2] for path in files.match(f"{parent}/*/{contract.COMPLETED}")]
    earlier = sorted(int(name) for name in names if name.isdigit() and int(name) < int(own))
    return f"{parent}/{earlier[-1]}" if earlier else None


class AudioExampleGen(base_beam_component.BaseBeamComponent):
    """The first node of the training pipeline."""

    SPEC_CLASS = AudioExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(AudioExampleGenExecutor)

    def __init__(self, **parameters: str) -> None:
        """Makes the node from the parameters of AudioExampleGenSpec, with objects as JSON."""
        examples = types.Channel(type=standard_artifacts.Examples)
        super().__init__(spec=AudioExampleGenSpec(examples=examples, **parameters))

"""BatchGenerator, the TFX component that generates clips with a blessed model."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import artifact, component_spec, standard_artifacts

from generator.executor import BatchGeneratorExecutor


class GeneratedClips(artifact.Artifact):
    """The manifest of a generation run, whose property `output` is the folder of the clips."""

    TYPE_NAME = "nocturne.GeneratedClips"
    PROPERTIES = {
        "n_clips": artifact.Property(type=artifact.PropertyType.INT),
        "run_key": artifact.Property(type=artifact.PropertyType.STRING),
        "output": artifact.Property(type=artifact.PropertyType.STRING),
    }


class BatchGeneratorSpec(types.ComponentSpec):
    """Types of the parameters, the input and the output of BatchGenerator."""

    PARAMETERS = {
        "generate": component_spec.ExecutionParameter(type=str),
        "output": component_spec.ExecutionParameter(type=str),
        "metadata": component_spec.ExecutionParameter(type=str),
        "config_yaml": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
    }
    OUTPUTS = {"clips": component_spec.ChannelParameter(type=GeneratedClips)}


class BatchGenerator(base_beam_component.BaseBeamComponent):
    """Generates clips with a model."""

    SPEC_CLASS = BatchGeneratorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(BatchGeneratorExecutor)

    def __init__(
        self, *, model: types.BaseChannel, blessing: types.BaseChannel, **parameters: str
    ) -> None:
        """Creates the component with channels of models and their blessings, and parameters."""
        clips = types.Channel(type=GeneratedClips)
        super().__init__(
            spec=BatchGeneratorSpec(model=model, blessing=blessing, clips=clips, **parameters)
        )

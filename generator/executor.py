"""The executor of BatchGenerator."""

from __future__ import annotations

import json
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from audio import contract
from generator import generate
from generator.requests import GenerateSettings
from storage.outputs import open_output


class BatchGeneratorExecutor(base_beam_executor.BaseBeamExecutor):
    """Generates clips, and writes their manifest to the folder of the artifact."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Runs the Beam job, unless an earlier attempt finished it."""
        model = artifact_utils.get_single_instance(input_dict["model"])
        blessing = artifact_utils.get_single_instance(input_dict["blessing"])
        clips = artifact_utils.get_single_instance(output_dict["clips"])
        output = exec_properties["output"]
        run = {
            "model_path": path_utils.serving_model_path(model.uri),
            "output": output,
            "settings": GenerateSettings(**json.loads(exec_properties["generate"])),
        }
        # A killed attempt may have made all clips, but not told ML Metadata.
        manifest = generate.read_finished_run(**run) or generate.run(
            **run,
            lineage={
                "metadata": exec_properties["metadata"],
                "model_artifact": model.id,
                "clips_uri": clips.uri,
            },
            verdict=blessing.get_string_custom_property("outcome") or None,
            effective_config=exec_properties["config_yaml"],
            beam_args=self._beam_pipeline_args or ("--runner=FnApiRunner",),
        )
        text = json.dumps(manifest, indent=2)
        open_output(clips.uri).publish(contract.MANIFEST, text.encode())
        clips.n_clips = len(manifest["clips"])
        clips.run_key = manifest["run_key"]
        clips.output = output

"""The generation pipeline: the latest blessed model -> clips.

LatestBlessedModel -> BatchGenerator -> OUTPUT/clip-0000.wav ..., manifest.json, COMPLETED
"""

from __future__ import annotations

import dataclasses
import json

from tfx.orchestration.pipeline import Pipeline

from audio import contract
from generator.component import BatchGenerator
from pipeline.components.code_fingerprint import node_fingerprint
from pipeline.components.latest_blessed_model import latest_blessed_model
from pipeline.config.load import Config
from pipeline.root.paths import PIPELINE_NAME, Layout
from storage.outputs import open_output


def generation_pipeline(*, output: str, layout: Layout, config: Config) -> Pipeline:
    """Returns the pipeline that generates clips into `output`, an absolute path or gs://."""
    resolver = latest_blessed_model()
    batch_generator = BatchGenerator(
        model=resolver.outputs["model"],
        blessing=resolver.outputs["model_blessing"],
        generate=json.dumps(dataclasses.asdict(config.generate), sort_keys=True),
        output=output,
        metadata=layout.metadata,
        config_yaml=config.to_yaml(),
        code_version=node_fingerprint("BatchGenerator"),
    )
    return Pipeline(
        pipeline_name=PIPELINE_NAME,
        pipeline_root=layout.artifacts,
        components=[resolver, batch_generator],
        # ML Metadata also knows clips that have since been moved away.
        enable_cache=open_output(output).read(contract.COMPLETED) is not None,
        beam_pipeline_args=layout.beam_args(config.beam.args),
    )

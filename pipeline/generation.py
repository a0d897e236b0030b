"""The generation pipeline: the latest blessed model -> clips.

LatestBlessedModel -> BatchGenerator -> OUTPUT/clip-0000.wav ..., manifest.json, COMPLETED
"""

from __future__ import annotations

import dataclasses
import json

from tfx.orchestration.pipeline import Pipeline

from audio import contract
from generator.component import BatchGenerator
from generator.outputs import open_output
from pipeline.configs import Config
from pipeline.layout import PIPELINE_NAME, Layout
from pipeline.resolvers import latest_blessed_model
from pipeline.versions import code_fingerprint


def generation_pipeline(*, output: str, layout: Layout, config: Config) -> Pipeline:
    """Returns the pipeline that fills `output`, an absolute path or gs://."""
    resolver = latest_blessed_model()
    batch_generator = BatchGenerator(
        model=resolver.outputs["model"],
        generate=json.dumps(dataclasses.asdict(config.generate), sort_keys=True),
        output=output,
        metadata=layout.metadata,
        config_yaml=config.to_yaml(),
        code_version=code_fingerprint("audio", "generator"),
    )
    return Pipeline(
        pipeline_name=PIPELINE_NAME,
        pipeline_root=layout.artifacts,
        components=[resolver, batch_generator],
        # Metadata may remember clips that somebody has since moved away.
        enable_cache=open_output(output).read(contract.COMPLETED) is not None,
        beam_pipeline_args=layout.beam_args(config.beam.args),
    )

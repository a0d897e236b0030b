"""Generation as a Dataflow job: built, staged and submitted to a stub on loopback."""

from __future__ import annotations

import json
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from generator import generate
from generator.requests import GenerateSettings
from storage import files
from tests.support.dataflow_stub import dataflow
from tests.support.gcs import CLIENTS

pytestmark = CLIENTS
A_MILLION = GenerateSettings(clips=1_000_000, seconds=10, seed=7)


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> Any:
    """The path and body of the request to the service, and the names of the staged objects."""
    with dataflow(tmp_path_factory.mktemp("dataflow")) as (bucket, beam_settings, submitted):
        pipeline = beam.Pipeline(options=PipelineOptions([*beam_settings.generate]))
        pipeline | generate.GenerateClips(
            model_path=f"{bucket}/model", output=f"{bucket}/clips", settings=A_MILLION
        )
        pipeline.run()
        staged = files.match(f"{bucket}/beam/staging/**")
    ((path, body),) = submitted
    return path, body, staged


def test_a_million_clips_are_one_small_job(job) -> None:
    path, body, staged = job
    assert "projects/nocturne-test/locations/europe-west1/jobs" in path
    assert body["name"] == "nocturne-generate"
    assert staged
    assert len(json.dumps(body)) < 1_000_000


def test_workers_are_as_configured(job) -> None:
    environment = job[1]["environment"]
    (pool,) = environment["workerPools"]
    assert pool["machineType"] == "e2-standard-2"
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 50
    assert pool["ipConfiguration"] in ("WORKER_IP_PRIVATE", 2)
    images = {image["containerImage"] for image in pool["sdkHarnessContainerImages"]}
    assert images == {"europe-west1-docker.pkg.dev/nocturne-test/nocturne/generate:0.1.0"}
    # The clips are needed by the next morning, so the job must not wait for cheap machines.
    assert "flexResourceSchedulingGoal" not in environment


def test_batches_are_spread_over_workers_before_clips_are_made(job) -> None:
    steps = [step["properties"].get("user_name", "") for step in job[1].get("steps", [])]
    if not steps:  # newer services read the graph from the staged pipeline alone
        assert [name for name in job[2] if "pipeline" in name]
        return
    spread = next(index for index, name in enumerate(steps) if "SpreadBatches" in name)
    made = next(index for index, name in enumerate(steps) if "MakeClips" in name)
    assert spread < made

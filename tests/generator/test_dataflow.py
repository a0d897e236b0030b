"""Generation as a Dataflow job: built, staged and submitted to a stub on loopback."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from generator import generate
from generator.requests import GenerateSettings
from tests.support.dataflow_stub import ROOT, build_wheel, dataflow
from tests.support.gcs import CLIENTS

pytestmark = CLIENTS
A_MILLION = GenerateSettings(clips=1_000_000, seconds=10, seed=7)


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> Any:
    """What the service was asked to run, the names of the staged objects, and the package."""
    wheel = build_wheel(tmp_path_factory.mktemp("dist"))
    with dataflow(tmp_path_factory.mktemp("dataflow")) as (bucket, beam_settings, submitted):
        arguments = [*beam_settings.generate, f"--extra_package={wheel}"]
        pipeline = beam.Pipeline(options=PipelineOptions(arguments))
        (
            pipeline
            | generate.PlanClips(A_MILLION)
            | generate.GenerateClips(
                model_path=f"{bucket}/model", output=f"{bucket}/night", settings=A_MILLION
            )
        )
        pipeline.run()
        staged = [m.path for m in FileSystems.match([f"{bucket}/beam/staging/**"])[0].metadata_list]
    ((path, body),) = submitted
    return path, body, staged, wheel


def test_a_million_clips_are_one_small_job(job) -> None:
    path, body, staged, wheel = job
    assert "projects/nocturne-test/locations/europe-west1/jobs" in path
    assert body["name"] == "nocturne-generate"
    assert any(name.endswith(wheel.name) for name in staged)
    assert len(json.dumps(body)) < 1_000_000


def test_workers_are_what_was_asked_for(job) -> None:
    environment = job[1]["environment"]
    (pool,) = environment["workerPools"]
    assert pool["machineType"] == "e2-standard-2"
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 50
    assert pool["ipConfiguration"] in ("WORKER_IP_PRIVATE", 2)
    images = {image["containerImage"] for image in pool["sdkHarnessContainerImages"]}
    assert images == {"europe-west1-docker.pkg.dev/nocturne-test/nocturne/generate:0.1.0"}
    # A night has to be there in the morning: no waiting for cheap capacity.
    assert "flexResourceSchedulingGoal" not in environment


def test_clips_are_spread_over_workers_before_they_are_made(job) -> None:
    steps = [step["properties"].get("user_name", "") for step in job[1].get("steps", [])]
    if not steps:  # newer services take the graph from the staged pipeline alone
        names = [name for name in job[2] if "pipeline" in name]
        assert names
        return
    spread = next(index for index, name in enumerate(steps) if "SpreadBatches" in name)
    made = next(index for index, name in enumerate(steps) if "MakeClips" in name)
    assert spread < made


def test_workers_that_generate_import_no_tfx() -> None:
    code = (
        "import sys, generator.generate\n"
        "heavy = {'tfx', 'ml_metadata', 'keras_tuner', 'tensorflow_transform'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)

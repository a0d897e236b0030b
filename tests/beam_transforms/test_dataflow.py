"""A Dataflow job is built, staged to a bucket and submitted, to a stub on loopback."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import zipfile
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from audio.config import AudioConfig
from beam_transforms import prepare
from beam_transforms.settings import PrepareSettings
from storage import files
from tests.support import signals
from tests.support.dataflow_stub import build_wheel, dataflow
from tests.support.gcs import CLIENTS

pytestmark = CLIENTS


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return build_wheel(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def job(wheel, tmp_path_factory) -> Any:
    """The path and body of the request to the service, and the names of the staged objects."""
    with dataflow(tmp_path_factory.mktemp("dataflow")) as (bucket, settings, submitted):
        arguments = [*settings.prepare, f"--extra_package={wheel}"]
        pipeline = beam.Pipeline(options=PipelineOptions(arguments))
        pipeline | prepare.PrepareDataset(
            output=f"{bucket}/dataset", audio=AudioConfig(), settings=PrepareSettings()
        )
        pipeline.run()
        staged = files.match(f"{bucket}/beam/staging/**")
    ((path, body),) = submitted
    return path, body, staged


def test_the_job_is_submitted_to_its_project_and_region(job) -> None:
    path, body, _ = job
    assert "projects/nocturne-test/locations/europe-west1/jobs" in path
    assert body["name"] == "nocturne-prepare"
    assert body["labels"] == {"product": "nocturne"}


def test_workers_are_as_configured(job) -> None:
    (pool,) = job[1]["environment"]["workerPools"]
    assert pool["machineType"] == "e2-standard-2"
    assert pool["diskSizeGb"] == 30
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 50
    assert pool["ipConfiguration"] in ("WORKER_IP_PRIVATE", 2)  # the name, or its number
    images = {image["containerImage"] for image in pool["sdkHarnessContainerImages"]}
    assert images == {"europe-west1-docker.pkg.dev/nocturne-test/nocturne/worker:0.1.0"}
    environment = job[1]["environment"]
    assert environment["flexResourceSchedulingGoal"] in ("FLEXRS_COST_OPTIMIZED", 2)
    account = "nocturne-worker@nocturne-test.iam.gserviceaccount.com"
    assert environment["serviceAccountEmail"] == account


def test_the_package_is_staged_and_the_graph_has_no_list_of_files(job, wheel) -> None:
    _, body, staged = job
    assert any(name.endswith(wheel.name) for name in staged)
    assert len(json.dumps(body)) < 1_000_000


def test_the_package_has_the_code_and_does_not_require_tfx(wheel) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(n for n in names if n.endswith("METADATA"))).decode()
    assert {
        "audio/mel.py",
        "beam_transforms/prepare.py",
        "storage/files.py",
        "pipeline/components/schema/schema.pbtxt",
        "pipeline/report/templates/page.html.j2",
    } <= set(names)
    assert not [name for name in names if name.startswith("tests")]
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    plain = [line for line in required if "extra ==" not in line]
    assert not [line for line in plain if "tfx" in line or "tensorflow" in line]
    assert [line for line in plain if "apache-beam" in line]


def test_the_package_installs_with_plain_pip_and_prepares(wheel, tmp_path) -> None:
    """The environment is new, and has nothing but what the package requires."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check",
               "--no-compile", str(wheel)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "No matching distribution" in done.stderr:
        reason = f"needs a package index: {done.stderr.strip()[-300:]}"
        pytest.fail(reason) if os.environ.get("NOCTURNE_CI") else pytest.skip(reason)
    assert done.returncode == 0, done.stderr[-2000:]
    signals.write(tmp_path / "music" / "a.ogg", signals.tune(seconds=3), format="OGG")
    command = [str(python.parent / "nocturne"), "prepare", "--input", "music", "--output", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out" / "COMPLETED").exists()

"""A Dataflow job that is really built, staged to a bucket and submitted, to a stub on loopback."""

from __future__ import annotations

import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from audio.config import AudioConfig
from beam_transforms import prepare
from beam_transforms.settings import PrepareSettings
from tests import signals
from tests.gcs import CLIENTS, emulator

pytestmark = CLIENTS

ROOT = pathlib.Path(__file__).parents[2]


class _Dataflow(http.server.BaseHTTPRequestHandler):
    """Takes any job and keeps what was asked for."""

    submitted: list[tuple[str, dict[str, Any]]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.submitted.append((self.path, body))
        answer = json.dumps({"id": "job-1", "name": body.get("name"), "projectId": "nocturne-test",
                             "location": "europe-west1"})  # fmt: skip
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The package that workers get, built from pyproject."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder),
         str(ROOT)],
        check=True, capture_output=True,
    )  # fmt: skip
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def job(wheel, tmp_path_factory) -> Any:
    """What the service was asked to run, and the names of the staged objects."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Dataflow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    folder = tmp_path_factory.mktemp("dataflow")
    with pytest.MonkeyPatch.context() as patch, emulator(folder, patch) as bucket:
        options = PipelineOptions(
            [
                "--runner=DataflowRunner", "--project=nocturne-test", "--region=europe-west1",
                f"--dataflow_endpoint=http://localhost:{server.server_port}",
                f"--temp_location={bucket}/temp", f"--staging_location={bucket}/staging",
                "--job_name=nocturne-prepare", f"--extra_package={wheel}",
                "--sdk_location=container", "--sdk_container_image=example.invalid/nocturne:1",
                "--num_workers=2", "--max_num_workers=50",
                "--worker_machine_type=e2-standard-2", "--disk_size_gb=30",
                "--flexrs_goal=COST_OPTIMIZED", "--labels=team=audio", "--no_use_public_ips",
            ]
        )  # fmt: skip
        pipeline = beam.Pipeline(options=options)
        pipeline | prepare.PrepareDataset(
            output=f"{bucket}/dataset", audio=AudioConfig(), settings=PrepareSettings()
        )
        pipeline.run()
        staged = [m.path for m in FileSystems.match([f"{bucket}/staging/**"])[0].metadata_list]
    server.shutdown()
    server.server_close()
    ((path, body),) = _Dataflow.submitted
    return path, body, staged


def test_the_job_is_submitted_to_its_project_and_region(job) -> None:
    path, body, _ = job
    assert "projects/nocturne-test/locations/europe-west1/jobs" in path
    assert body["name"] == "nocturne-prepare"
    assert body["labels"] == {"team": "audio"}


def test_workers_are_what_was_asked_for(job) -> None:
    (pool,) = job[1]["environment"]["workerPools"]
    assert pool["machineType"] == "e2-standard-2"
    assert pool["diskSizeGb"] == 30
    assert pool["numWorkers"] == 2
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 50
    assert pool["ipConfiguration"] in ("WORKER_IP_PRIVATE", 2)  # the name, or its number
    images = {image["containerImage"] for image in pool["sdkHarnessContainerImages"]}
    assert images == {"example.invalid/nocturne:1"}
    goal = job[1]["environment"]["flexResourceSchedulingGoal"]
    assert goal in ("FLEXRS_COST_OPTIMIZED", 2)


def test_the_package_is_staged_and_no_list_of_files_is_in_the_graph(job, wheel) -> None:
    _, body, staged = job
    assert any(name.endswith(wheel.name) for name in staged)
    assert len(json.dumps(body)) < 1_000_000


def test_the_package_holds_the_code_and_asks_for_no_tfx(wheel) -> None:
    import zipfile

    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(n for n in names if n.endswith("METADATA"))).decode()
    for name in ("audio/mel.py", "beam_transforms/prepare.py", "pipeline/schema/schema.pbtxt",
                 "pipeline/templates/report.html.j2"):  # fmt: skip
        assert name in names
    assert not [name for name in names if name.startswith("tests")]
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    plain = [line for line in required if "extra ==" not in line]
    assert not [line for line in plain if "tfx" in line or "tensorflow" in line]
    assert [line for line in plain if "apache-beam" in line]


def test_the_package_installs_from_a_plain_pip_and_prepares(wheel, tmp_path) -> None:
    """In an environment of its own, with nothing but what the package asks for."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", str(wheel)]
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


def test_workers_that_prepare_import_neither_tensorflow_nor_tfx() -> None:
    code = (
        "import sys, beam_transforms.prepare\n"
        "heavy = {'tensorflow', 'tfx', 'keras', 'ml_metadata', 'librosa'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)

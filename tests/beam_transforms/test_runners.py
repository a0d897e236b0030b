"""The job on other runners, each in a network namespace of its own, gives the same records."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests.support import signals
from tests.support.prepared import AUDIO, SETTINGS, records, run
from tests.support.system import in_network_namespace

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
# Also checks that a process that prepares loads none of the heavy libraries.
JOB = """
import json, pathlib, socket, subprocess, sys, time
from audio.config import AudioConfig
from beam_transforms import prepare
from beam_transforms.settings import PrepareSettings
from beam_transforms.sources import find_sources

if __name__ == "__main__":
    inputs, output, audio, settings, pool, *beam_args = sys.argv[1:]
    command = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main",
               "--service_port=50111"]
    started = [subprocess.Popen(command)] if pool == "pool" else []
    deadline = time.monotonic() + 60
    try:
        while started and time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", 50111)) == 0:
                    break
            time.sleep(0.1)
        prepare.run(sources=find_sources([inputs]), output=output,
                    audio=AudioConfig.from_json(audio),
                    settings=PrepareSettings(**json.loads(settings)),
                    effective_config="audio: {}\\n", beam_args=beam_args)
    finally:
        for process in started:
            process.terminate()
            process.wait()
    heavy = {"tensorflow", "tfx", "keras", "ml_metadata", "librosa"} & set(sys.modules)
    assert not heavy, heavy
"""
PORTABLE = ["--runner=PortableRunner", "--job_endpoint=embed"]
RUNNERS = {
    "two processes": [
        "none", "--runner=FnApiRunner", "--direct_running_mode=multi_processing",
        "--direct_num_workers=2",
    ],
    "portable, in a worker process": [
        "pool", *PORTABLE, "--environment_type=EXTERNAL",
        "--environment_config=localhost:50111",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> pathlib.Path:
    folder: pathlib.Path = tmp_path_factory.mktemp("inputs")
    signals.write_tunes(folder, count=6, seconds=1)
    (folder / "bad.wav").write_text("this is not audio")
    return folder


@pytest.fixture(scope="module")
def expected(inputs, tmp_path_factory) -> dict[str, list[dict]]:
    """The records that the job gives in this process."""
    output = tmp_path_factory.mktemp("expected") / "dataset"
    run(inputs, output)
    return records(output)


@pytest.mark.parametrize("runner", RUNNERS)
def test_another_runner_gives_the_same_records(inputs, expected, tmp_path, runner: str) -> None:
    script = tmp_path / "job.py"
    script.write_text(JOB)
    settings = [AUDIO.to_json(), json.dumps(dataclasses.asdict(SETTINGS))]
    # Beam starts workers as plain `python`, so this environment has to be the first on the PATH.
    path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        in_network_namespace(
            sys.executable, str(script), str(inputs), str(tmp_path / "out"), *settings,
            *RUNNERS[runner],
        ),
        cwd=ROOT, env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert records(tmp_path / "out") == expected

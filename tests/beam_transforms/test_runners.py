"""The same job on other runners, each in a network namespace of its own: the same records."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from tests.support import signals
from tests.support.prepared import records, run
from tests.support.system import in_network_namespace

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
JOB = """
import pathlib, socket, subprocess, sys, time
from tests.support.prepared import AUDIO, SETTINGS
from beam_transforms import prepare
from beam_transforms.sources import find_sources

if __name__ == "__main__":
    inputs, output, pool, *beam_args = sys.argv[1:]
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
        prepare.run(sources=find_sources([inputs]), output=output, audio=AUDIO,
                    settings=SETTINGS, effective_config="audio: {}\\n", beam_args=beam_args)
    finally:
        for process in started:
            process.terminate()
            process.wait()
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


@pytest.mark.parametrize("runner", RUNNERS)
def test_another_runner_gives_the_same_records(tmp_path, runner: str) -> None:
    for index in range(6):
        signals.write(tmp_path / "in" / f"{index}.wav", signals.tune(seconds=4, seed=index))
    (tmp_path / "in" / "bad.wav").write_text("this is not audio")
    run(tmp_path / "in", tmp_path / "plain")
    script = tmp_path / "job.py"
    script.write_text(JOB)
    # Workers are started as plain `python`: the environment's must come first.
    path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        in_network_namespace(
            sys.executable, str(script), str(tmp_path / "in"), str(tmp_path / "out"),
            *RUNNERS[runner],
        ),
        cwd=ROOT, env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert records(tmp_path / "out") == records(tmp_path / "plain")

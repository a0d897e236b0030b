"""Two Beam workers, in a network namespace of their own, generate the same bytes as one process."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import pytest

from generator import generate
from generator.requests import GenerateSettings
from tests.generator.test_generate import contents
from tests.support.system import in_network_namespace

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
# Two batches, one for each worker.
SETTINGS = GenerateSettings(clips=10, seconds=1.5, seed=3, temperature=0.5, iterations=4)
# Also checks that a process that generates does not load TFX.
JOB = """
import json, sys
from generator import generate
from generator.requests import GenerateSettings

if __name__ == "__main__":
    model, output, settings, *beam_args = sys.argv[1:]
    generate.run(model_path=model, output=output,
                 settings=GenerateSettings(**json.loads(settings)), beam_args=beam_args)
    heavy = {"tfx", "ml_metadata", "keras_tuner", "tensorflow_transform"} & set(sys.modules)
    assert not heavy, heavy
"""
ARGS = ["--runner=FnApiRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2"]


def test_two_workers_generate_the_same_bytes(model, tmp_path) -> None:
    script = tmp_path / "job.py"
    script.write_text(JOB)
    settings = json.dumps(dataclasses.asdict(SETTINGS))
    path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        in_network_namespace(
            sys.executable, str(script), str(model), str(tmp_path / "two"), settings, *ARGS
        ),
        cwd=ROOT, env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    generate.run(model_path=str(model), output=str(tmp_path / "one"), settings=SETTINGS)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")

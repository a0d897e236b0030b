"""The same night by two Beam workers, in a network namespace of its own: the same bytes."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from generator import generate
from tests.generator.test_generate import contents
from tests.generator.test_kill import SETTINGS
from tests.support.system import in_network_namespace

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
JOB = """
import sys
from generator import generate
from tests.generator.test_kill import SETTINGS

if __name__ == "__main__":
    model, output, *beam_args = sys.argv[1:]
    generate.run(model_path=model, output=output, settings=SETTINGS, beam_args=beam_args)
"""
ARGS = ["--runner=FnApiRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2"]


def test_two_workers_make_the_same_bytes(model, tmp_path) -> None:
    script = tmp_path / "job.py"
    script.write_text(JOB)
    path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        in_network_namespace(
            sys.executable, str(script), str(model), str(tmp_path / "two"), *ARGS
        ),
        cwd=ROOT, env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    generate.run(model_path=str(model), output=str(tmp_path / "one"), settings=SETTINGS)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")

"""Generation that is killed, whenever, and run again."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import time

import pytest

from audio import contract
from generator import generate
from generator.requests import GenerateSettings
from storage import files
from tests.generator.test_generate import contents

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).parents[2]
SETTINGS = GenerateSettings(clips=24, seconds=1.5, seed=3, temperature=0.5, iterations=20)


def run(model: pathlib.Path, output: pathlib.Path) -> None:
    generate.run(model_path=str(model), output=str(output), settings=SETTINGS)


@pytest.fixture(scope="module")
def undisturbed(model, tmp_path_factory) -> dict[str, str]:
    output = tmp_path_factory.mktemp("undisturbed") / "clips"
    run(model, output)
    return contents(output)


@pytest.mark.parametrize("clips", [0, 1, 10, 23])
def test_a_rerun_after_sigkill_ends_in_the_same_bytes(
    model, tmp_path, undisturbed, clips: int
) -> None:
    """Killed once so many clips are there, wherever it is by then; none of them is made again."""
    output = tmp_path / "clips"
    code = (
        "import pathlib, sys\n"
        "from tests.generator.test_kill import run\n"
        "run(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", code, str(model), str(output)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        while len(list(output.glob("*.wav"))) < clips and process.poll() is None:
            time.sleep(0.002)
        process.kill()
    assert process.returncode == -9
    assert not (output / contract.COMPLETED).exists()
    before = {path: path.stat().st_mtime_ns for path in output.glob("*.wav")}
    if clips:
        # What a kill in the middle of a write leaves.
        (output / f"{files.PARTIAL_PREFIX}abcdef").write_bytes(b"half a cl")
    run(model, output)
    assert contents(output) == undisturbed
    assert {path: path.stat().st_mtime_ns for path in before} == before

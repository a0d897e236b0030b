"""Generation that is killed at any time, and run again."""

from __future__ import annotations

import time

import pytest

from audio import contract
from generator import generate
from generator.requests import GenerateSettings
from storage import files
from tests.generator.test_generate import contents
from tests.support import processes

pytestmark = pytest.mark.slow
SETTINGS = GenerateSettings(clips=24, seconds=1.5, seed=3, temperature=0.5, iterations=20)


def run(model: str, output: str) -> None:
    generate.run(model_path=model, output=output, settings=SETTINGS)


@pytest.fixture(scope="module")
def expected(model, tmp_path_factory) -> dict[str, str]:
    """The files of a run that was not killed."""
    output = tmp_path_factory.mktemp("expected") / "clips"
    run(str(model), str(output))
    return contents(output)


@pytest.mark.parametrize("clips", [0, 1, 10, 23])
def test_a_rerun_after_sigkill_ends_in_the_same_bytes(
    model, tmp_path, expected, clips: int
) -> None:
    """The process is killed as soon as that number of clips exists; none of them is made again."""
    output = tmp_path / "clips"
    process = processes.start(run, str(model), str(output))
    while len(list(output.glob("*.wav"))) < clips and process.is_alive():
        time.sleep(0.002)
    process.kill()
    process.join()
    assert process.exitcode == -9
    assert not (output / contract.COMPLETED).exists()
    before = {path: path.stat().st_mtime_ns for path in output.glob("*.wav")}
    if clips:
        # A kill in the middle of a write leaves such a file.
        (output / f"{files.PARTIAL_PREFIX}abcdef").write_bytes(b"half a cl")
    run(str(model), str(output))
    assert contents(output) == expected
    assert {path: path.stat().st_mtime_ns for path in before} == before

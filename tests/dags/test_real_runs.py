"""Both DAGs in Airflow, for real: audio files to a blessed model to the clips of a date."""

from __future__ import annotations

import json
import pathlib

import pytest

from audio import contract
from pipeline.config.load import load_config
from tests.support.airflow_home import Home, make_home, webhook
from tests.support.nocturne_process import forking_nocturne
from tests.support.pipelines import TINY, TRAINING_NODES, outcomes, write_music

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

# Dies once, in the middle, as a machine that is taken away would.
FLAKY = """#!/usr/bin/env bash
if [ "$NODE" = StatisticsGen ] && [ ! -e "$DIED" ]; then touch "$DIED"; kill -KILL $$; fi
exec "$REAL" "$@"
"""


@pytest.fixture
def home(tmp_path) -> Home:
    write_music(tmp_path / "music")
    config = tmp_path / "tiny.yaml"
    config.write_text(load_config(None, TINY).to_yaml())
    flaky = tmp_path / "flaky"
    flaky.write_text(FLAKY)
    flaky.chmod(0o755)
    return make_home(
        tmp_path,
        NOCTURNE_COMMAND=str(flaky),
        NOCTURNE_CONFIG=str(config),
        REAL=str(forking_nocturne()),
        DIED=str(tmp_path / "died"),
    )


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_training_and_a_generation_run(home) -> None:
    """One node dies and is retried; a run whose folder is taken overwrites nothing and alerts."""
    trained = home.run("nocturne_training")
    assert trained.returncode == 0, trained.stdout
    assert (home.folder / "died").exists()
    (run,) = (home.folder / "root" / "runs").glob("nocturne_training.*")
    assert outcomes(run) == dict.fromkeys(TRAINING_NODES, "ran")

    made = home.run("nocturne_generation", "2026-11-20", {"clips": 2, "seconds": 1})
    assert made.returncode == 0, made.stdout
    night = home.folder / "clips" / "2026-11-20"
    manifest = json.loads((night / contract.MANIFEST).read_text())
    assert manifest["generate"]["seed"] == 20261120
    assert manifest["generate"]["date"] == "2026-11-20"
    assert len(manifest["clips"]) == 2

    before = contents(night)
    with webhook() as (url, posted):
        again = home.run(
            "nocturne_generation", "2026-11-20", {"clips": 3, "seconds": 1}, NOCTURNE_WEBHOOK=url
        )
    assert again.returncode != 0
    assert "already holds a finished run with other settings" in again.stdout
    assert contents(night) == before
    assert posted[-1]["event"] == "task_failed"

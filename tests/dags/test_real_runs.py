"""Both DAGs in Airflow, for real: audio files to a blessed model to a night's clips."""

from __future__ import annotations

import json
import pathlib

import pytest

from audio import contract
from pipeline.config.load import load_config
from tests.integration.test_pipelines import NOCTURNE, NODES, TINY
from tests.support import signals
from tests.support.airflow_home import Home, make_home, webhook

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

# Dies once, in the middle, as a machine that is taken away would.
FLAKY = """#!/usr/bin/env bash
if [ "$NODE" = StatisticsGen ] && [ ! -e "$DIED" ]; then touch "$DIED"; kill -KILL $$; fi
exec "$REAL" "$@"
"""


@pytest.fixture
def home(tmp_path) -> Home:
    for index in range(6):
        signals.write(tmp_path / "music" / f"{index}.flac", signals.tune(seconds=6, seed=index))
    config = tmp_path / "tiny.yaml"
    config.write_text(load_config(None, TINY).to_yaml())
    flaky = tmp_path / "flaky"
    flaky.write_text(FLAKY)
    flaky.chmod(0o755)
    return make_home(
        tmp_path, NOCTURNE_COMMAND=str(flaky), NOCTURNE_CONFIG=str(config), REAL=str(NOCTURNE),
        DIED=str(tmp_path / "died"),
    )  # fmt: skip


def outcomes(home: Home, dag: str) -> dict[str, str]:
    (path,) = (home.folder / "root" / "runs").glob(f"{dag}.*/run.json")
    return {row["node"]: row["outcome"] for row in json.loads(path.read_text())["nodes"]}


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_week_and_a_night(home) -> None:
    """One node dies and is retried; a night whose folder is taken overwrites nothing and alerts."""
    trained = home.run("nocturne_training")
    assert trained.returncode == 0, trained.stdout
    assert (home.folder / "died").exists()
    assert outcomes(home, "nocturne_training") == dict.fromkeys(NODES, "ran")

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

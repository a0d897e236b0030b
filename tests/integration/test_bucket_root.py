"""A pipeline root in a bucket: data, models, verdicts and runs. ML Metadata is on this machine."""

from __future__ import annotations

import json
import os

import pytest

from audio import contract
from storage import files
from tests.support import gcs, pipelines
from tests.support.googleapis import googleapis
from tests.support.pipelines import GENERATION_NODES, TINY, TRAINING_NODES, flags, write_music

pytestmark = [*gcs.CLIENTS, pytest.mark.timeout(1500)]


def test_both_pipelines_in_a_bucket(tmp_path, monkeypatch) -> None:
    write_music(tmp_path / "music")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with gcs.emulator(tmp_path, monkeypatch) as bucket:
        host = os.environ["STORAGE_EMULATOR_HOST"].removeprefix("http://")
        with googleapis(tmp_path, host) as environment:

            def nocturne(*args: object) -> None:
                settings = flags(*TINY, "metadata.path=metadata.sqlite")
                root = ("--root", f"{bucket}/top")
                pipelines.finish(
                    pipelines.start(*args, *root, *settings, cwd=tmp_path, **environment)
                )

            def outcomes(run_id: str) -> dict[str, str]:
                summary = json.loads(files.read_text(f"{bucket}/top/runs/{run_id}/run.json"))
                return {row["node"]: row["outcome"] for row in summary["nodes"]}

            nocturne("run", "training", "--input", "music", "--run-id", "first")
            assert outcomes("first") == dict.fromkeys(TRAINING_NODES, "ran")
            page = f"{bucket}/top/runs/first"
            assert "page/evaluation-" in files.read_text(f"{page}/index.html")
            assert files.match(f"{page}/page/evaluation-*.webp")
            nocturne("run", "training", "--input", "music", "--run-id", "again")
            assert outcomes("again") == dict.fromkeys(TRAINING_NODES, "cached")
            output = f"{bucket}/clips/night"
            nocturne("run", "generation", "--run-id", "night", "--output", output, "--clips", 1,
                     "--seconds", 1)  # fmt: skip
            assert outcomes("night") == dict.fromkeys(GENERATION_NODES, "ran")
            manifest = json.loads(files.read_text(f"{output}/{contract.MANIFEST}"))
            assert manifest["model"]["path"].startswith(f"{bucket}/top/artifacts/Trainer/model/")
            assert files.exists(f"{output}/{manifest['clips'][0]['file']}")
            assert len(files.match(f"{bucket}/top/pushed/*/saved_model.pb")) == 1
    # Nothing but the store and the logs is on this machine.
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "account.json", "googleapis.pem", "metadata.sqlite", "metadata.sqlite.lock", "music",
        "state",
    ]  # fmt: skip
    (log,) = (tmp_path / "state").glob("nocturne/roots/songs-top-*/runs/night/log.txt")
    assert log.stat().st_size

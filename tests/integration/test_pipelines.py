"""Both TFX pipelines, for real, on real files: the walk that everything else serves."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import subprocess
import sys
from typing import Any

import pytest

from audio import contract
from tests.support import signals

pytestmark = pytest.mark.slow

NOCTURNE = pathlib.Path(sys.executable).with_name("nocturne")
TINY = [
    "audio.n_mels=32", "prepare.chunk_frames=200", "prepare.eval_share=0.34", "train.units=16",
    "train.window_frames=64", "train.batch_windows=4", "train.steps=30", "train.eval_every=15",
    "train.primer_frames=16", "evaluate.rollouts=2", "evaluate.rollout_seconds=1",
    "evaluate.tolerance=1000000", "evaluate.refuse_worse=false",
]  # fmt: skip
NODES = ["AudioExampleGen", "Schema", "StatisticsGen", "Transform", "ExampleValidator", "Trainer",
         "Evaluator", "Pusher"]  # fmt: skip
NIGHT_NODES = ["LatestBlessedModel", "BatchGenerator"]


def nocturne(cwd: pathlib.Path, *args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(NOCTURNE), *map(str, args)], capture_output=True, text=True, check=False, cwd=cwd
    )


def train(cwd: pathlib.Path, *overrides: str, code: int | None = 0) -> dict[str, str]:
    """Runs the training pipeline; returns each node's outcome. Any exit code does for None."""
    sets = [part for one in [*TINY, *overrides] for part in ("--set", one)]
    done = nocturne(cwd, "run", "training", "--input", "music", "--root", "root", *sets)
    assert code in (None, done.returncode), done.stdout + done.stderr
    return outcomes(cwd)


def generate(cwd: pathlib.Path, output: str, *args: object) -> subprocess.CompletedProcess[str]:
    return nocturne(
        cwd, "run", "generation", "--root", "root", "--output", output, "--clips", 2,
        "--seconds", 1, *args,
    )  # fmt: skip


def outcomes(cwd: pathlib.Path) -> dict[str, str]:
    newest = max(
        (cwd / "root" / "runs").glob("*/run.json"), key=lambda path: path.stat().st_mtime_ns
    )
    return {row["node"]: row["outcome"] for row in json.loads(newest.read_text())["nodes"]}


def model_info(cwd: pathlib.Path) -> dict[str, Any]:
    """What the model that was trained last says of itself."""
    found = (cwd / "root" / "artifacts" / "Trainer" / "model").glob(
        f"*/Format-Serving/{contract.MODEL_INFO}"
    )
    newest = max(found, key=lambda path: path.stat().st_mtime_ns)
    return dict(json.loads(newest.read_text()))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with music and a first run of both pipelines."""
    cwd = tmp_path_factory.mktemp("project")
    for index in range(6):
        signals.write(cwd / "music" / f"{index}.flac", signals.tune(seconds=6, seed=index))
    assert train(cwd) == dict.fromkeys(NODES, "ran")
    done = generate(cwd, "clips")
    assert done.returncode == 0, done.stdout + done.stderr
    return cwd


def test_clips_are_there_and_the_model_is_pushed(project) -> None:
    assert sorted(path.name for path in (project / "clips").iterdir()) == [
        "COMPLETED", "clip-0000.wav", "clip-0001.wav", "effective_config.yaml", "index.html",
        "manifest.json", "page",
    ]  # fmt: skip
    pushed = list((project / "root" / "pushed").iterdir())
    assert len(pushed) == 1
    assert (pushed[0] / contract.MODEL_INFO).exists()


def test_statistics_are_of_the_figures_alone_and_the_schema_fits(project) -> None:
    from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2

    artifacts = project / "root" / "artifacts"
    for split in contract.SPLITS:
        (path,) = artifacts.glob(f"StatisticsGen/*/*/Split-{split}/FeatureStats.pb")
        found = statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes())
        names = {feature.path.step[0] for feature in found.datasets[0].features}
        assert names == set(contract.FIGURES)
        assert found.datasets[0].num_examples > 0
        (path,) = artifacts.glob(f"ExampleValidator/*/*/Split-{split}/SchemaDiff.pb")
        assert not anomalies_pb2.Anomalies.FromString(path.read_bytes()).anomaly_info


def test_run_json_has_the_figures_of_the_runs(project) -> None:
    from pipeline.runs.summary import RunSummary

    (path,) = (project / "root" / "runs").glob("training-*/run.json")
    training = RunSummary.model_validate_json(path.read_text())
    assert training.run_id == path.parent.name
    assert {node.node: node.outcome for node in training.nodes} == dict.fromkeys(NODES, "ran")
    assert all(node.seconds > 0 and node.execution > 0 for node in training.nodes)
    (info,) = (project / "root" / "artifacts").glob("AudioExampleGen/examples/*/dataset_info.json")
    splits = json.loads(info.read_text())["splits"].values()
    assert training.audio_seconds == pytest.approx(
        sum(split["seconds"] for split in splits), abs=1e-3
    )
    assert (training.files, training.recordings_read, training.recordings_rejected) == (6, 6, 0)
    assert (training.steps, training.windows, training.model_blessed) == (30, 30 * 4, True)
    assert (training.clips_published, training.error) == (None, None)
    (path,) = (project / "root" / "runs").glob("generation-*/run.json")
    generation = RunSummary.model_validate_json(path.read_text())
    manifest = json.loads((project / "clips" / "manifest.json").read_text())
    entries = manifest["clips"] + manifest["unhealthy"]
    assert generation.clips_published == len(manifest["clips"]) == 2
    assert generation.clips_refused == len(manifest["unhealthy"])
    assert generation.clip_attempts == sum(len(entry["attempts"]) for entry in entries)
    assert generation.steps is None


def test_nothing_is_stored_twice(project) -> None:
    """Transform materialises nothing: the frames are in the dataset alone."""
    artifacts = project / "root" / "artifacts"
    assert not (artifacts / "Transform" / "transformed_examples").exists()
    holds_frames = {
        path.relative_to(artifacts).parts[0]
        for path in artifacts.rglob("*.tfrecord*")
        if path.stat().st_size > 0
    }
    assert holds_frames == {"AudioExampleGen"}


def test_a_clip_is_traced_to_seed_model_runs_and_recordings(project) -> None:
    done = nocturne(project, "trace", "clips/clip-0001.wav", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    nodes = {run["node"]: run for run in found["runs"]}
    assert {"Trainer", "Transform", "AudioExampleGen"} <= set(nodes)
    assert all(re.match(r"training-\d{8}T\d{6}-\d+$", run["run"]) for run in found["runs"])
    (dataset,) = nodes["AudioExampleGen"]["outputs"]
    assert found["dataset"]["path"] == dataset
    assert found["blessing"][0]["blessed"]
    sources = {pathlib.Path(row["source_uri"]).name for row in found["dataset"]["recordings"]}
    assert sources == {f"{index}.flac" for index in range(6)}
    manifest = json.loads((project / "clips" / "manifest.json").read_text())
    assert found["clip"] == manifest["clips"][1]
    assert manifest["model"]["path"].startswith(str(project / "root" / "artifacts" / "Trainer"))


def test_both_runs_have_a_page_and_it_is_made_again_the_same(project) -> None:
    text = (project / "clips" / "index.html").read_text()
    assert text.count("<audio") == 3  # two clips, and a recording that was held out
    for node in (*NODES, "LatestBlessedModel", "BatchGenerator"):
        assert f'<th scope="row">{node}</th>' in text
    assert "ExampleValidator found no anomaly" in text
    (training,) = (project / "root" / "runs").glob("training-*/index.html")
    said = training.read_text()
    assert "blessed" in said
    assert "BatchGenerator" not in said
    done = nocturne(project, "report", "--root", "root")
    assert done.returncode == 0, done.stderr
    assert (project / "clips" / "index.html").read_text() == text
    priced = [*("--run-id", training.parent.name), "--set", "report.price_per_hour=2"]
    done = nocturne(project, "report", "--root", "root", *priced, "--output", "elsewhere")
    assert done.returncode == 0, done.stderr
    assert "Time and cost of each stage" in (project / "elsewhere" / "index.html").read_text()
    assert training.read_text() == said


def test_a_rerun_with_nothing_changed_does_no_work(project) -> None:
    before = {path: path.stat().st_mtime_ns for path in (project / "clips").iterdir()}
    assert train(project) == dict.fromkeys(NODES, "cached")
    done = generate(project, "clips")
    assert done.returncode == 0, done.stderr
    assert outcomes(project)["BatchGenerator"] == "cached"
    assert {path: path.stat().st_mtime_ns for path in (project / "clips").iterdir()} == before


def test_a_finished_output_is_not_filled_again_with_other_settings(project) -> None:
    done = generate(project, "clips", "--seed", 5)
    assert done.returncode == 6
    assert "already holds a finished run with other settings" in done.stderr


def test_clips_that_were_moved_away_are_made_again(project) -> None:
    first = {path.name: path.read_bytes() for path in (project / "clips").glob("*.wav")}
    (project / "clips").rename(project / "kept")
    assert generate(project, "clips").returncode == 0
    assert {p.name: p.read_bytes() for p in (project / "clips").glob("*.wav")} == first
    shutil.rmtree(project / "kept")


def test_a_changed_setting_reruns_exactly_what_depends_on_it(project) -> None:
    found = train(project, "evaluate.rollouts=3")
    ran = {"Evaluator", "Pusher"}
    assert found == {node: "ran" if node in ran else "cached" for node in NODES}
    found = train(project, "train.seed=1")
    ran |= {"Trainer"}
    assert found == {node: "ran" if node in ran else "cached" for node in NODES}
    # The model that was blessed first is what this one is held against.
    found = train(project, "train.seed=1", "evaluate.refuse_worse=true", code=None)
    reports = (project / "root" / "artifacts" / "Evaluator" / "evaluation").glob("*/*.json")
    newest = json.loads(max(reports, key=lambda path: int(path.parent.name)).read_text())
    assert any("the last blessed model, " in reason for reason in newest["reasons"])
    found = train(project, "prepare.chunk_frames=150")
    assert {node for node, outcome in found.items() if outcome == "cached"} <= {"Schema"}


def test_a_new_recording_reruns_what_depends_on_the_data(project) -> None:
    signals.write(project / "music" / "new.flac", signals.tune(seconds=6, seed=60))
    try:
        found = train(project)
        assert {node for node, outcome in found.items() if outcome == "cached"} == {"Schema"}
    finally:
        (project / "music" / "new.flac").unlink()


def test_the_trainer_takes_what_the_tuner_found_and_goes_on_from_the_blessed_model(
    project, tmp_path
) -> None:
    shutil.copytree(project / "music", tmp_path / "music")
    tuned = ["tune.trials=2", "tune.steps=6", "tune.space={units: [8, 12]}"]
    found = train(tmp_path, *tuned, "train.warm_start=latest")
    # Nothing is blessed yet, so the first training begins with new weights.
    assert found == dict.fromkeys(NODES, "ran") | {"Tuner": "ran", "LatestBlessedModel": "skipped"}
    first = model_info(tmp_path)
    assert first["warm_start"] is None
    assert first["train"]["units"] in (8, 12)
    artifacts = tmp_path / "root" / "artifacts"
    (results,) = artifacts.glob("Tuner/tuner_results/*/tuner_results.json")
    assert {row["units"] for row in json.loads(results.read_text())} == {8, 12}
    same = f"train.units={first['train']['units']}"
    assert train(tmp_path, same, "train.warm_start=latest", "train.steps=31")["Trainer"] == "ran"
    second = model_info(tmp_path)
    assert second["warm_start"]["model_id"] == first["model_id"]
    assert second["warm_start"]["splits_compared"]
    sets = [part for one in [*TINY, "train.warm_start=latest"] for part in ("--set", one)]
    done = nocturne(tmp_path, "run", "training", "--input", "music", "--root", "root", *sets)
    assert done.returncode == 5, done.stdout + done.stderr
    assert "has another architecture: units is" in done.stderr


def test_a_model_that_fails_is_not_pushed_and_not_used(project, tmp_path) -> None:
    shutil.copytree(project / "music", tmp_path / "music")
    sets = [part for one in [*TINY, "evaluate.tolerance=0"] for part in ("--set", one)]
    done = nocturne(tmp_path, "run", "training", "--input", "music", "--root", "root", *sets)
    assert done.returncode == 8
    assert "FAIL: movement is" in done.stdout
    assert "not blessed, and not pushed" in done.stderr
    assert not (tmp_path / "root" / "pushed").exists()
    done = generate(tmp_path, "clips")
    assert done.returncode == 8
    assert "no blessed model" in done.stderr
    assert not (tmp_path / "clips").exists()


def test_one_recording_alone_is_said_plainly(tmp_path) -> None:
    signals.write(tmp_path / "music" / "only.flac", signals.tune(seconds=12))
    sets = [part for one in TINY for part in ("--set", one)]
    done = nocturne(tmp_path, "run", "training", "--input", "music", "--root", "root", *sets)
    assert done.returncode == 8, done.stdout + done.stderr
    assert "no recording is held out" in done.stdout


def test_prune_leaves_what_the_last_runs_and_the_clips_need(project) -> None:
    """After all the runs above: the clips are traced as before, and the next run has its cache."""

    def prune(*args: str) -> dict[str, int]:
        done = nocturne(
            project, "prune", "--root", "root", "--keep-days", 0, "--keep-runs", 1, "--json", *args
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(json.loads(done.stdout)["folders"])

    other_data = ["prepare.chunk_frames=140", "evaluate.tolerance=0"]
    assert train(project, *other_data, code=8)["Trainer"] == "ran"  # a model that is refused
    train(project)
    traced = nocturne(project, "trace", "clips/clip-0001.wav", "--json").stdout
    removable = prune()
    nodes = {path.split("/")[1] for path in removable if path.startswith("artifacts/")}
    assert nodes >= {"AudioExampleGen", "Transform", "StatisticsGen", "Trainer", "Evaluator"}
    assert all((project / "root" / path).exists() for path in removable)
    assert prune("--delete") == removable
    assert not any((project / "root" / path).exists() for path in removable)
    assert prune() == {}
    assert nocturne(project, "trace", "clips/clip-0001.wav", "--json").stdout == traced
    assert train(project) == dict.fromkeys(NODES, "cached")
    # A result that was removed is made again where it is needed.
    assert train(project, *other_data, code=8)["AudioExampleGen"] == "ran"

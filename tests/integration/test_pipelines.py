"""Both TFX pipelines, for real, on real files. The tests of this file build on one another."""

from __future__ import annotations

import collections
import json
import pathlib
import re
import shutil
from typing import Any

import pytest

from audio import contract
from pipeline.root.paths import Layout
from tests.support import signals
from tests.support.command import start_nocturne
from tests.support.pipelines import (
    GENERATION_NODES,
    TINY,
    TRAINING_NODES,
    finish,
    flags,
    outcomes,
    run,
    start,
    write_music,
)

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(1500)]

# The head that users have; the others of TINY are cheaper.
SETTINGS = [*TINY, "train.head=mixture"]
INPUTS = ("--input", "music", "--root", "root")
CLIPS = ("--clips", 2, "--seconds", 1)


def train(
    cwd: pathlib.Path, *overrides: str, code: int | None = 0, settings: list[str] = SETTINGS
) -> dict[str, str]:
    """Runs the training pipeline and returns each node's outcome."""
    run("run", "training", *INPUTS, *flags(*settings, *overrides), cwd=cwd, code=code)
    return outcomes(newest_run(cwd))


def generate(cwd: pathlib.Path, output: str, *args: object, code: int = 0) -> str:
    generation = ("run", "generation", "--root", "root", "--output", output, *CLIPS, *args)
    return run(*generation, cwd=cwd, code=code)


def newest_run(cwd: pathlib.Path) -> pathlib.Path:
    runs = (cwd / "root" / "runs").glob("*/run.json")
    return max(runs, key=lambda path: path.stat().st_mtime_ns).parent


def model_info(cwd: pathlib.Path) -> dict[str, Any]:
    """Returns the model_info.json of the model that was trained last."""
    models = (cwd / "root" / "artifacts" / "Trainer" / "model").glob("*/Format-Serving")
    newest = max(models, key=lambda path: int(path.parent.name))
    return dict(json.loads((newest / contract.MODEL_INFO).read_text()))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with music and a first run of both pipelines, each as a user starts it."""
    cwd = tmp_path_factory.mktemp("project")
    write_music(cwd / "music")
    done = start_nocturne("run", "training", *INPUTS, *flags(*SETTINGS), cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    assert outcomes(newest_run(cwd)) == dict.fromkeys(TRAINING_NODES, "ran")
    generation = ("run", "generation", "--root", "root", "--output", "clips", *CLIPS)
    done = start_nocturne(*generation, cwd=cwd)
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
        statistics = statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes())
        names = {feature.path.step[0] for feature in statistics.datasets[0].features}
        assert names == set(contract.FIGURES)
        assert statistics.datasets[0].num_examples > 0
        (path,) = artifacts.glob(f"ExampleValidator/*/*/Split-{split}/SchemaDiff.pb")
        assert not anomalies_pb2.Anomalies.FromString(path.read_bytes()).anomaly_info


def test_run_json_has_the_figures_of_the_runs(project) -> None:
    from pipeline.runs.summary import RunSummary

    (path,) = (project / "root" / "runs").glob("training-*/run.json")
    training = RunSummary.model_validate_json(path.read_text())
    assert training.run_id == path.parent.name
    assert {node.node: node.outcome for node in training.nodes} == dict.fromkeys(
        TRAINING_NODES, "ran"
    )
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
    """Transform writes no examples: the frames are in the dataset alone."""
    artifacts = project / "root" / "artifacts"
    assert not (artifacts / "Transform" / "transformed_examples").exists()
    holds_frames = {
        path.relative_to(artifacts).parts[0]
        for path in artifacts.rglob("*.tfrecord*")
        if path.stat().st_size > 0
    }
    assert holds_frames == {"AudioExampleGen"}


def test_the_manifest_says_that_the_model_was_accepted_unjudged(project) -> None:
    manifest = json.loads((project / "clips" / "manifest.json").read_text())
    assert manifest["verdict"] == "cannot be judged"


def test_a_clip_is_traced_to_seed_model_runs_and_recordings(project) -> None:
    done = start_nocturne("trace", "clips/clip-0001.wav", "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    traced = json.loads(done.stdout)
    nodes = {run["node"]: run for run in traced["runs"]}
    assert {"Trainer", "Transform", "AudioExampleGen"} <= set(nodes)
    assert all(re.match(r"training-\d{8}T\d{6}-\d+$", run["run"]) for run in traced["runs"])
    (dataset,) = nodes["AudioExampleGen"]["outputs"]
    assert traced["dataset"]["path"] == dataset
    assert traced["blessing"][0]["blessed"]
    sources = {pathlib.Path(row["source_uri"]).name for row in traced["dataset"]["recordings"]}
    assert sources == {f"{index}.flac" for index in range(6)}
    manifest = json.loads((project / "clips" / "manifest.json").read_text())
    assert traced["clip"] == manifest["clips"][1]
    assert manifest["model"]["path"].startswith(str(project / "root" / "artifacts" / "Trainer"))


def test_both_runs_have_a_page_and_it_is_made_again_the_same(project) -> None:
    text = (project / "clips" / "index.html").read_text()
    assert text.count("<audio") == 3  # two clips and a held-out recording
    for node in (*TRAINING_NODES, *GENERATION_NODES):
        assert f'<th scope="row">{node}</th>' in text
    assert "ExampleValidator found nothing unusual" in text
    (training,) = (project / "root" / "runs").glob("training-*/index.html")
    page = training.read_text()
    assert "cannot be judged" in page
    assert "BatchGenerator" not in page
    done = start_nocturne("report", "--root", "root", cwd=project)
    assert done.returncode == 0, done.stderr
    assert (project / "clips" / "index.html").read_text() == text
    priced = ("--run-id", training.parent.name, *flags("report.price_per_hour=2"))
    run("report", "--root", "root", *priced, "--output", "elsewhere", cwd=project)
    assert "Time and cost</h2>" in (project / "elsewhere" / "index.html").read_text()
    assert training.read_text() == page


def test_a_rerun_with_nothing_changed_does_no_work(project) -> None:
    before = {path: path.stat().st_mtime_ns for path in (project / "clips").iterdir()}
    assert train(project) == dict.fromkeys(TRAINING_NODES, "cached")
    generate(project, "clips")
    assert outcomes(newest_run(project))["BatchGenerator"] == "cached"
    assert {path: path.stat().st_mtime_ns for path in (project / "clips").iterdir()} == before


def test_a_finished_output_is_not_filled_again_with_other_settings(project) -> None:
    output = generate(project, "clips", "--seed", 5, code=6)
    assert "already holds a finished run with other settings" in output


def test_clips_that_were_moved_away_are_made_again(project) -> None:
    first = {path.name: path.read_bytes() for path in (project / "clips").glob("*.wav")}
    (project / "clips").rename(project / "kept")
    generate(project, "clips")
    assert {p.name: p.read_bytes() for p in (project / "clips").glob("*.wav")} == first
    shutil.rmtree(project / "kept")


def test_a_changed_setting_reruns_exactly_what_depends_on_it(project) -> None:
    ran = {"Evaluator", "Pusher"}
    assert train(project, "evaluate.rollouts=3") == {
        node: "ran" if node in ran else "cached" for node in TRAINING_NODES
    }


def test_a_training_and_two_generation_runs_at_once_lose_and_double_nothing(project) -> None:
    """The training has another head, and its model is accepted although it cannot be judged."""
    changed = flags(*SETTINGS, "train.head=mse")
    training = start("run", "training", *INPUTS, "--run-id", "weekly", *changed, cwd=project)
    nights = ["night-1", "night-2"]
    generations = [
        start("run", "generation", "--root", "root", "--output", night, "--run-id", night,
              *CLIPS, "--seed", seed, cwd=project)
        for seed, night in enumerate(nights, start=1)
    ]  # fmt: skip
    finish(training, code=None)
    for generation in generations:
        finish(generation)
    ran = {"Trainer", "Evaluator", "Pusher"}
    assert outcomes(project / "root" / "runs" / "weekly") == {
        node: "ran" if node in ran else "cached" for node in TRAINING_NODES
    }
    assert states(project, "weekly") == {
        node: ["COMPLETE" if node in ran else "CACHED"] for node in TRAINING_NODES
    }
    for seed, night in enumerate(nights, start=1):
        assert states(project, night) == {node: ["COMPLETE"] for node in GENERATION_NODES}
        manifest = json.loads((project / night / "manifest.json").read_text())
        assert manifest["generate"]["seed"] == seed
    assert_each_artifact_is_stored_once(project)
    reports = (project / "root" / "artifacts" / "Evaluator" / "evaluation").glob("*/*.json")
    newest = json.loads(max(reports, key=lambda path: int(path.parent.name)).read_text())
    assert newest["outcome"] == "cannot be judged"
    assert newest["accepted"]


def states(project: pathlib.Path, run_id: str) -> dict[str, list[str]]:
    """Returns the states of all executions of each node of a run, from ML Metadata."""
    from ml_metadata.proto import metadata_store_pb2

    from pipeline.root.metadata_store import SharedMetadata

    names = metadata_store_pb2.Execution.State
    states: dict[str, list[str]] = collections.defaultdict(list)
    with SharedMetadata(Layout.at(str(project / "root"))) as handle:
        context = handle.store.get_context_by_type_and_name("pipeline_run", run_id)
        for execution in handle.store.get_executions_by_context(context.id):
            contexts = handle.store.get_contexts_by_execution(execution.id)
            (node,) = [context.name for context in contexts if context.type == "node"]
            states[node.partition(".")[2]].append(names.Name(execution.last_known_state))
    return dict(states)


def assert_each_artifact_is_stored_once(project: pathlib.Path) -> None:
    from pipeline.root.metadata_store import SharedMetadata

    with SharedMetadata(Layout.at(str(project / "root"))) as handle:
        uris = [artifact.uri for artifact in handle.store.get_artifacts()]
    assert len(uris) == len(set(uris))
    assert all(pathlib.Path(uri).exists() for uri in uris)


def test_another_setting_of_the_data_makes_the_data_again(project) -> None:
    """Node by node, as far as the data goes: a result that is new is read by the nodes after it."""
    settings = flags(*SETTINGS, "prepare.chunk_frames=150")
    data = TRAINING_NODES[: TRAINING_NODES.index("Trainer")]
    for node in data:
        node_run = (*INPUTS, "--run-id", "chunks", "--only", node, *settings)
        run("run", "training", *node_run, cwd=project)
    outcome = outcomes(project / "root" / "runs" / "chunks")
    assert outcome == dict.fromkeys(data, "ran") | {"Schema": "cached"}


def test_a_new_recording_reruns_what_depends_on_it_and_an_unjudged_model_is_not_pushed(
    project,
) -> None:
    pushed = sorted((project / "root" / "pushed").iterdir())
    signals.write(project / "music" / "new.flac", signals.tune(seconds=6, seed=60))
    try:
        settings = flags(*SETTINGS, "train.head=mse", "evaluate.accept_unjudged=false")
        output = run("run", "training", *INPUTS, *settings, cwd=project, code=13)
    finally:
        (project / "music" / "new.flac").unlink()
    cached = {node for node, what in outcomes(newest_run(project)).items() if what == "cached"}
    assert cached == {"Schema"}
    assert "The model cannot be judged: 2 held-out recordings with 12 s in all" in output
    assert "not pushed; the model stays in" in output
    assert sorted((project / "root" / "pushed").iterdir()) == pushed


def test_the_trainer_takes_what_the_tuner_found_and_goes_on_from_the_blessed_model(
    project, tmp_path
) -> None:
    shutil.copytree(project / "music", tmp_path / "music")
    tuned = ["tune.trials=2", "tune.steps=6", "tune.space={units: [8, 12]}"]
    outcome = train(tmp_path, *tuned, "train.warm_start=latest", settings=TINY)
    # Nothing is blessed yet, so the first training begins with new weights.
    expected = dict.fromkeys(TRAINING_NODES, "ran")
    assert outcome == expected | {"Tuner": "ran", "LatestBlessedModel": "skipped"}
    first = model_info(tmp_path)
    assert first["warm_start"] is None
    assert first["train"]["units"] in (8, 12)
    artifacts = tmp_path / "root" / "artifacts"
    (results,) = artifacts.glob("Tuner/tuner_results/*/tuner_results.json")
    assert {row["units"] for row in json.loads(results.read_text())} == {8, 12}
    same = [f"train.units={first['train']['units']}", "train.warm_start=latest", "train.steps=31"]
    assert train(tmp_path, *same, settings=TINY)["Trainer"] == "ran"
    second = model_info(tmp_path)
    assert second["warm_start"]["model_id"] == first["model_id"]
    assert second["warm_start"]["splits_compared"]
    other = flags(*TINY, "train.warm_start=latest")
    output = run("run", "training", *INPUTS, *other, cwd=tmp_path, code=5)
    assert "has another architecture: units is" in output


def test_one_recording_alone_gives_no_blessed_model_and_no_clips(tmp_path) -> None:
    signals.write(tmp_path / "music" / "only.flac", signals.tune(seconds=12))
    settings = flags(*TINY, "evaluate.accept_unjudged=false")
    output = run("run", "training", *INPUTS, *settings, cwd=tmp_path, code=13)
    assert "0 held-out recordings" in output
    assert not (tmp_path / "root" / "pushed").exists()
    assert "no blessed model" in generate(tmp_path, "clips", code=8)
    assert not (tmp_path / "clips").exists()


def test_prune_leaves_what_the_last_runs_and_the_clips_need(project) -> None:
    """After all the runs above: the clips are traced as before, and the next run has its cache."""
    command = ("prune", "--root", "root", "--keep-days", 0, "--keep-runs", 1, "--json")

    def prune(*args: str) -> dict[str, int]:
        return dict(json.loads(run(*command, *args, cwd=project))["folders"])

    train(project)
    traced = run("trace", "clips/clip-0001.wav", "--json", cwd=project)
    # The data of the run that was refused, and that of the run without a model.
    done = start_nocturne(*command, cwd=project)
    removable = json.loads(done.stdout)["folders"]
    nodes = [path.split("/")[1] for path in removable if path.startswith("artifacts/")]
    assert {"Trainer", "Evaluator", "StatisticsGen"} <= set(nodes)
    assert nodes.count("AudioExampleGen") >= 2
    assert all((project / "root" / path).exists() for path in removable)
    assert prune("--delete") == removable
    assert not any((project / "root" / path).exists() for path in removable)
    assert prune() == {}
    assert run("trace", "clips/clip-0001.wav", "--json", cwd=project) == traced
    assert train(project) == dict.fromkeys(TRAINING_NODES, "cached")
    # A result that was removed is made again where it is needed.
    again = ("--run-id", "chunks-again", "--only", "AudioExampleGen")
    settings = flags(*SETTINGS, "prepare.chunk_frames=150")
    run("run", "training", *INPUTS, *again, *settings, cwd=project)
    assert outcomes(project / "root" / "runs" / "chunks-again") == {"AudioExampleGen": "ran"}

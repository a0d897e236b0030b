"""Both pipelines at once against ML Metadata on a MySQL server; test_pipelines.py has SQLite."""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib
import subprocess
from collections.abc import Iterator

import pytest

from pipeline.config.load import load_config
from pipeline.root.locks import PASSWORD as PASSWORD_VARIABLE
from pipeline.root.paths import Layout
from tests.support import databases, pipelines
from tests.support.pipelines import GENERATION_NODES, TINY, TRAINING_NODES, finish, flags

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(1500)]


@dataclasses.dataclass(frozen=True)
class Project:
    """A folder with music and a configuration, and the password of its ML Metadata."""

    folder: pathlib.Path
    password: str = databases.PASSWORD

    def start(self, *args: object, config: str = "team.yaml") -> subprocess.Popen[str]:
        environment = {PASSWORD_VARIABLE: self.password}
        return pipelines.start(*args, "--config", config, cwd=self.folder, **environment)

    def train(self, run_id: str, *overrides: str) -> subprocess.Popen[str]:
        root = ("--root", "root", "--run-id", run_id)
        return self.start("run", "training", "--input", "music", *root, *flags(*overrides))

    def generate(self, run_id: str, seed: int) -> subprocess.Popen[str]:
        return self.start(
            "run", "generation", "--root", "root", "--output", run_id, "--run-id", run_id,
            "--clips", 2, "--seconds", 1, "--seed", seed,
        )  # fmt: skip

    def layout(self) -> Layout:
        config = load_config(str(self.folder / "team.yaml"))
        return Layout.at(str(self.folder / "root"), config.metadata)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with a first run, then a training and two generation runs at once.

    The database did not exist before the first of them.
    """
    folder = tmp_path_factory.mktemp("mysql")
    pipelines.write_music(folder / "music")
    with databases.serving() as server:
        config = load_config(None, [*TINY, *server.settings()])
        (folder / "team.yaml").write_text(config.to_yaml())
        project = Project(folder)
        finish(project.train("first"))
        at_once = [
            project.train("weekly", "train.seed=1"),
            project.generate("night-1", 1),
            project.generate("night-2", 2),
        ]
        for process in at_once:
            finish(process)
        yield project


def executions(project: Project) -> dict[str, dict[str, list[str]]]:
    """Returns the states of all executions of every run's nodes, from the store."""
    from ml_metadata.proto import metadata_store_pb2

    from pipeline.root.metadata_store import SharedMetadata

    states = metadata_store_pb2.Execution.State
    runs: dict[str, dict[str, list[str]]] = collections.defaultdict(dict)
    with SharedMetadata(project.layout()) as handle:
        for execution in handle.store.get_executions():
            contexts = handle.store.get_contexts_by_execution(execution.id)
            names = {context.type: context.name for context in contexts}
            node = names["node"].partition(".")[2]
            state = states.Name(execution.last_known_state)
            runs[names["pipeline_run"]].setdefault(node, []).append(state)
    return dict(runs)


def test_a_training_and_two_generation_runs_at_once_lose_and_double_nothing(
    project, monkeypatch
) -> None:
    from pipeline.root.metadata_store import SharedMetadata

    monkeypatch.setenv(PASSWORD_VARIABLE, project.password)
    data = {"AudioExampleGen", "StatisticsGen", "Transform", "ExampleValidator", "Schema"}
    night = {node: ["COMPLETE"] for node in GENERATION_NODES}
    assert executions(project) == {
        "first": {node: ["COMPLETE"] for node in TRAINING_NODES},
        "weekly": {node: ["CACHED" if node in data else "COMPLETE"] for node in TRAINING_NODES},
        "night-1": night,
        "night-2": night,
    }
    manifests = [json.loads((project.folder / run / "manifest.json").read_text())
                 for run in ("night-1", "night-2")]  # fmt: skip
    assert [manifest["generate"]["seed"] for manifest in manifests] == [1, 2]
    # What a node made is in the store once, and it exists.
    with SharedMetadata(project.layout()) as handle:
        uris = [artifact.uri for artifact in handle.store.get_artifacts()]
    assert len(uris) == len(set(uris))
    assert all(pathlib.Path(uri).exists() for uri in uris)


def test_a_clip_is_traced_through_the_store(project) -> None:
    traced = json.loads(finish(project.start("trace", "night-1/clip-0000.wav", "--json")))
    made_by = {run["node"]: run["run"] for run in traced["runs"]}
    assert made_by["AudioExampleGen"] == "first"
    # Whichever model was the last blessed one when the generation run began.
    assert made_by["Trainer"] in ("first", "weekly")
    assert traced["blessing"][0]["blessed"]
    output = finish(project.start("run", "blessed", "--root", "root", "--run-id", "weekly"))
    assert "The model cannot be judged" in output


def test_no_file_holds_the_password(project) -> None:
    for path in project.folder.rglob("*"):
        if path.is_file():
            assert project.password.encode() not in path.read_bytes(), path


def test_a_password_goes_to_no_server_that_a_manifest_names(project) -> None:
    (project.folder / "local.yaml").write_text("{}\n")
    process = project.start("trace", "night-1/clip-0000.wav", config="local.yaml")
    output = finish(process, code=9)
    assert "ML Metadata is on mysql://team@127.0.0.1:" in output
    assert "Give the --config of the pipelines that wrote it" in output


def test_a_wrong_password_has_a_clear_error(project) -> None:
    wrong = dataclasses.replace(project, password="guessed")
    output = finish(wrong.start("run", "blessed", "--root", "root", "--run-id", "first"), code=11)
    assert "ML Metadata, mysql://team@127.0.0.1:" in output
    assert f"Put the password into {PASSWORD_VARIABLE}" in output
    assert "guessed" not in output

"""The weekly and the nightly pipeline at once against one store of ML Metadata, of each kind."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
from collections.abc import Iterator

import pytest

from pipeline.config.load import load_config
from pipeline.root.locks import PASSWORD as PASSWORD_VARIABLE
from pipeline.root.paths import Layout
from tests.integration.test_pipelines import NIGHT_NODES, NOCTURNE, NODES, TINY
from tests.support import databases, signals

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(1500)]


@dataclasses.dataclass(frozen=True)
class Project:
    """A folder with music, and where its ML Metadata is."""

    folder: pathlib.Path
    kind: str
    environment: dict[str, str]

    def start(self, *args: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(NOCTURNE), *map(str, args), "--config", "team.yaml"],
            cwd=self.folder, env={**os.environ, **self.environment},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def train(self, run_id: str, *overrides: str) -> subprocess.Popen[str]:
        sets = [part for one in overrides for part in ("--set", one)]
        root = ("--root", "root", "--run-id", run_id)
        return self.start("run", "training", "--input", "music", *root, *sets)

    def generate(self, run_id: str, seed: int) -> subprocess.Popen[str]:
        return self.start(
            "run", "generation", "--root", "root", "--output", run_id, "--run-id", run_id,
            "--clips", 2, "--seconds", 1, "--seed", seed,
        )  # fmt: skip


def end(process: subprocess.Popen[str]) -> str:
    try:
        said = process.communicate(timeout=1200)[0]
    finally:
        process.kill()
    assert process.returncode == 0, said
    return said


@pytest.fixture(scope="module", params=["sqlite", "mysql"])
def project(request, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with a first run, then a week and two nights that ran at once.

    The database did not exist before the first of them.
    """
    folder = tmp_path_factory.mktemp(request.param)
    for index in range(6):
        signals.write(folder / "music" / f"{index}.flac", signals.tune(seconds=6, seed=index))
    with contextlib.ExitStack() as stack:
        overrides = TINY
        if request.param != "sqlite":
            overrides = [*TINY, *stack.enter_context(databases.serving()).settings()]
        (folder / "team.yaml").write_text(load_config(None, overrides).to_yaml())
        secret = {PASSWORD_VARIABLE: databases.PASSWORD}
        found = Project(folder, request.param, secret)
        end(found.train("first"))
        at_once = [found.train("weekly", "train.seed=1"),
                   found.generate("night-1", 1), found.generate("night-2", 2)]  # fmt: skip
        for process in at_once:
            end(process)
        yield found


def executions(project: Project) -> dict[str, dict[str, list[str]]]:
    """Returns every run's nodes with the states of all their executions, as the store has them."""
    from ml_metadata.proto import metadata_store_pb2

    from pipeline.root.metadata_store import SharedMetadata

    states = metadata_store_pb2.Execution.State
    found: dict[str, dict[str, list[str]]] = collections.defaultdict(dict)
    with SharedMetadata(layout(project)) as handle:
        for execution in handle.store.get_executions():
            contexts = handle.store.get_contexts_by_execution(execution.id)
            (run,) = [one.name for one in contexts if one.type == "pipeline_run"]
            (node,) = [one.name for one in contexts if one.type == "node"]
            name = states.Name(execution.last_known_state)
            found[run].setdefault(node.partition(".")[2], []).append(name)
    return dict(found)


def layout(project: Project) -> Layout:
    config = load_config(str(project.folder / "team.yaml"))
    return Layout.at(str(project.folder / "root"), config.metadata)


def test_a_week_and_two_nights_at_once_lose_and_double_nothing(project, monkeypatch) -> None:
    for name, text in project.environment.items():
        monkeypatch.setenv(name, text)
    data = {"AudioExampleGen", "StatisticsGen", "Transform", "ExampleValidator", "Schema"}
    weekly = {node: ["CACHED" if node in data else "COMPLETE"] for node in NODES}
    night = {node: ["COMPLETE"] for node in NIGHT_NODES}
    assert executions(project) == {
        "first": {node: ["COMPLETE"] for node in NODES},
        "weekly": weekly,
        "night-1": night,
        "night-2": night,
    }
    manifests = [json.loads((project.folder / run / "manifest.json").read_text())
                 for run in ("night-1", "night-2")]  # fmt: skip
    assert [one["generate"]["seed"] for one in manifests] == [1, 2]
    # What a node made is in the store once, and there.
    from pipeline.root.metadata_store import SharedMetadata

    with SharedMetadata(layout(project)) as handle:
        uris = [one.uri for one in handle.store.get_artifacts()]
    assert len(uris) == len(set(uris))
    assert all(pathlib.Path(uri).exists() for uri in uris)


def test_a_clip_is_traced_through_the_store(project) -> None:
    found = json.loads(end(project.start("trace", "night-1/clip-0000.wav", "--json")))
    made_by = {one["node"]: one["run"] for one in found["runs"]}
    assert made_by["AudioExampleGen"] == "first"
    assert made_by["Trainer"] in ("first", "weekly")  # whichever was blessed when the night began
    assert found["blessing"][0]["blessed"]
    said = end(project.start("run", "blessed", "--root", "root", "--run-id", "weekly"))
    assert "ok" in said.lower()


def test_no_file_holds_the_password(project) -> None:
    for path in project.folder.rglob("*"):
        if path.is_file():
            assert databases.PASSWORD.encode() not in path.read_bytes(), path


def test_a_password_goes_to_no_server_that_a_manifest_names(project) -> None:
    if project.kind == "sqlite":
        pytest.skip("a file has no password")
    (project.folder / "team.yaml").rename(project.folder / "kept.yaml")
    (project.folder / "team.yaml").write_text("{}\n")
    try:
        process = project.start("trace", "night-1/clip-0000.wav")
        said = process.communicate(timeout=100)[0]
    finally:
        (project.folder / "kept.yaml").rename(project.folder / "team.yaml")
    assert process.returncode == 9
    assert f"ML Metadata is on {project.kind}://team@127.0.0.1:" in said
    assert "Give the --config of the pipelines that wrote it" in said


def test_a_wrong_password_is_said_plainly(project) -> None:
    if project.kind == "sqlite":
        pytest.skip("a file has no password")
    wrong = dataclasses.replace(project, environment={PASSWORD_VARIABLE: "guessed"})
    process = wrong.start("run", "blessed", "--root", "root", "--run-id", "first")
    said = process.communicate(timeout=100)[0]
    assert process.returncode == 11
    assert f"ML Metadata, {project.kind}://team@127.0.0.1:" in said
    assert f"Put the password into {PASSWORD_VARIABLE}" in said
    assert "guessed" not in said

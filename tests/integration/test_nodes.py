"""Nodes one by one, as a scheduler runs them: alone, at once, killed, again."""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from audio import contract
from audio.errors import BusyError, CannotJudgeError, IncompleteError, NotBlessedError, UsageError
from pipeline.config.load import Config, load_config
from pipeline.console.terminal import Console
from pipeline.runs import launch
from storage.locks import file_lock
from tests.support import pipelines
from tests.support.gcs import emulator
from tests.support.pipelines import TINY, write_music

# Libraries warn of their own past while they work.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

DAGS = pathlib.Path(launch.__file__).parents[1] / "dags"
FIRST_NODES = ("AudioExampleGen", "Schema", "StatisticsGen", "Transform")
TINY_CONFIG = load_config(None, TINY)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pathlib.Path]:
    """A pipeline root beside a folder of music; the current folder is above both."""
    cwd = tmp_path_factory.mktemp("nodes")
    write_music(cwd / "music")
    (cwd / "tiny.yaml").write_text(TINY_CONFIG.to_yaml())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        yield cwd / "root"


def run(node: str, run_id: str, config: Config = TINY_CONFIG) -> str:
    """Runs a node of the training pipeline in this process and returns its outcome."""
    with Console() as console:
        launch.run_training_node(console, ["music"], "root", config, run_id=run_id, node=node)
    return outcomes(run_id)[node]


def generate(node: str, run_id: str, output: str = "clips") -> str:
    config = load_config(None, [*TINY, "generate.clips=2", "generate.seconds=1"])
    with Console() as console:
        launch.run_generation(console, "root", output, config, run_id=run_id, only=node)
    return outcomes(run_id)[node]


def outcomes(run_id: str) -> dict[str, str]:
    return pipelines.outcomes(pathlib.Path("root", "runs", run_id))


def start(node: str, run_id: str) -> subprocess.Popen[str]:
    """Runs a node in a process of its own."""
    return pipelines.start(
        "run", "training", "--input", "music", "--root", "root", "--config", "tiny.yaml",
        "--run-id", run_id, "--only", node, cwd=pathlib.Path.cwd(),
    )  # fmt: skip


def wait_for(process: subprocess.Popen[str], pattern: str) -> None:
    """Waits until a process has made a file whose path matches a pattern."""
    deadline = time.monotonic() + 240
    while not list(pathlib.Path("root").glob(pattern)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"no {pattern}"
        time.sleep(0.02)


def kill_when(process: subprocess.Popen[str], pattern: str, *, output: str) -> None:
    """Kills a node's process once a file of a pattern exists, before ML Metadata knows of it.

    The folder `output` is made when ML Metadata knows that the node has begun. From then on, the
    test holds the store's lock, so that the node cannot report what it has finished.
    """
    wait_for(process, output)
    with file_lock(pathlib.Path("root", "metadata.sqlite.lock")):
        wait_for(process, pattern)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL


def states(run_id: str, node: str) -> list[str]:
    """Returns the states of a node's executions in a run, from ML Metadata."""
    from ml_metadata.proto import metadata_store_pb2

    from pipeline.root.metadata_store import SharedMetadata, find_executions
    from pipeline.root.paths import Layout

    with SharedMetadata(Layout.at("root")) as handle:
        executions = find_executions(handle, run_id=run_id, node=node)
    names = metadata_store_pb2.Execution.State
    return [names.Name(execution.last_known_state) for execution in executions]


def test_a_killed_node_does_not_count_as_finished_and_its_retry_succeeds(root) -> None:
    process = start("AudioExampleGen", "first")
    examples = "artifacts/AudioExampleGen/examples/*"
    kill_when(process, "artifacts/AudioExampleGen/staging/*/*/*.json", output=examples)
    assert states("first", "AudioExampleGen") == ["RUNNING"]
    with pytest.raises(IncompleteError, match=r"StatisticsGen needs AudioExampleGen, .* in first"):
        run("StatisticsGen", "first")
    assert run("AudioExampleGen", "first") == "ran"
    assert states("first", "AudioExampleGen") == ["COMPLETE"]


def test_a_node_needs_the_nodes_of_its_own_run(root) -> None:
    with pytest.raises(IncompleteError, match="Transform needs Schema,"):
        run("Transform", "first")
    assert run("Schema", "first") == "ran"
    assert run("AudioExampleGen", "other") == "cached"
    with pytest.raises(IncompleteError, match=r"Transform needs Schema, .* in other"):
        run("Transform", "other")


def test_two_nodes_at_once_against_one_store_one_of_them_killed_before(root) -> None:
    graph = "artifacts/Transform/transform_graph/*"
    kill_when(start("Transform", "first"), graph, output=graph)
    assert states("first", "Transform") == ["RUNNING"]
    left_over = next(pathlib.Path("root/artifacts/Transform/transform_graph").iterdir())
    (left_over / "half-written").touch()
    both = [start(node, "first") for node in ("StatisticsGen", "Transform")]
    for process in both:
        pipelines.finish(process)
    assert outcomes("first") == dict.fromkeys(
        ("AudioExampleGen", "Schema", "StatisticsGen", "Transform"), "ran"
    )
    assert states("first", "StatisticsGen") == states("first", "Transform") == ["COMPLETE"]
    assert not (left_over / "half-written").exists()


def test_a_finished_node_does_no_work_again(root) -> None:
    def stamps() -> dict[pathlib.Path, int]:
        return {path: path.stat().st_mtime_ns for path in (root / "artifacts").rglob("*")}

    before = stamps()
    for node in FIRST_NODES:
        assert run(node, "first") == "kept"
    assert stamps() == before


def test_what_is_refused(root) -> None:
    changed = load_config(None, [*TINY, "train.seed=3"])
    with pytest.raises(UsageError, match="first was begun with another configuration"):
        run("ExampleValidator", "first", changed)
    with pytest.raises(UsageError, match=r"--only: wanted one of AudioExampleGen, .*'Trainr'"):
        run("Trainr", "first")
    lock = root / "runs" / "first" / "ExampleValidator.lock"
    with (
        file_lock(lock),
        pytest.raises(BusyError, match="ExampleValidator of first is running in another process"),
    ):
        run("ExampleValidator", "first")


def test_generation_waits_for_a_blessed_model(root) -> None:
    for _ in range(2):  # what was not found once is looked for again
        with pytest.raises(NotBlessedError, match="no blessed model below root"):
            generate("LatestBlessedModel", "night")
    with Console() as console, pytest.raises(IncompleteError, match="the Evaluator has not run"):
        launch.require_blessed_run(console, "root", "first", TINY_CONFIG)


def test_the_rest_of_a_run_and_a_generation_run_with_its_model(root) -> None:
    model = "artifacts/Trainer/model/*"
    kill_when(start("Trainer", "first"), f"{model}/Format-Serving/*", output=model)
    assert [run(node, "first") for node in ("ExampleValidator", "Trainer")] == ["ran", "ran"]
    assert states("first", "Trainer") == ["COMPLETE"]
    assert [run(node, "first") for node in ("Evaluator", "Pusher")] == ["ran", "ran"]
    with Console() as console:
        launch.require_blessed_run(console, "root", "first", TINY_CONFIG)
    assert generate("LatestBlessedModel", "night") == "ran"
    assert generate("BatchGenerator", "night") == "ran"
    assert pathlib.Path("clips", contract.COMPLETED).exists()
    assert generate("BatchGenerator", "night") == "kept"


def test_a_generation_run_into_a_bucket_whose_end_was_lost(root, tmp_path, monkeypatch) -> None:
    """The process died after the last clip, before ML Metadata knew: no clip is made again."""
    from generator.executor import BatchGeneratorExecutor
    from pipeline.runs.runner import NodeFailedError
    from storage.outputs import Bucket

    with emulator(tmp_path, monkeypatch):
        assert generate("LatestBlessedModel", "bucket", "gs://songs/night") == "ran"
        real = BatchGeneratorExecutor.Do

        def dies(self: BatchGeneratorExecutor, *arguments: Any) -> None:
            real(self, *arguments)
            raise RuntimeError("power cut")

        with monkeypatch.context() as patch:
            patch.setattr(BatchGeneratorExecutor, "Do", dies)
            with pytest.raises(NodeFailedError, match=r"BatchGenerator failed: .*power cut"):
                generate("BatchGenerator", "bucket", "gs://songs/night")
        first = Bucket("gs://songs/night").read(contract.MANIFEST)
        assert outcomes("bucket")["BatchGenerator"] == "failed"
        summary = json.loads(pathlib.Path("root/runs/bucket/run.json").read_text())
        assert summary["error"] == "NodeFailedError"
        assert summary["clips_published"] is None
        assert generate("BatchGenerator", "bucket", "gs://songs/night") == "ran"
        assert Bucket("gs://songs/night").read(contract.MANIFEST) == first
        assert first is not None
        page = Bucket("gs://songs/night").read("index.html")
        assert page is not None
        assert b'src="./clip-0000.wav"' in page
        for clip in json.loads(first)["clips"]:
            name = clip["file"]
            assert Bucket("gs://songs/night").read(name) == pathlib.Path("clips", name).read_bytes()


def test_a_run_whose_model_is_not_blessed_is_an_error(root) -> None:
    strict = load_config(None, [*TINY, "evaluate.accept_unjudged=false"])
    with Console() as console:
        launch.run_training(console, ["music"], "root", strict, run_id="strict")
        with pytest.raises(CannotJudgeError, match="of strict is not pushed: The model"):
            launch.require_blessed_run(console, "root", "strict", strict)
    assert len(list((root / "pushed").iterdir())) == 1


def test_the_lists_of_nodes_are_the_pipelines_own(root) -> None:
    from pipeline.components.node_list import list_nodes

    training = list_nodes("training", Config())
    assert training["Pusher"] == ["Evaluator", "Trainer"]
    assert next(iter(training)) == "AudioExampleGen"
    # The DAGs import nothing of ours; `make dag-nodes` writes their list.
    listed = json.loads((DAGS / "nodes.json").read_text())
    assert listed == {"training": training, "generation": list_nodes("generation", Config())}

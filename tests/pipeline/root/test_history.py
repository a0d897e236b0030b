from __future__ import annotations

import pathlib

import pytest
from ml_metadata.proto import metadata_store_pb2 as proto

from audio.errors import LineageError
from pipeline.config.sections import MetadataSettings
from pipeline.root.history import (
    History,
    history_of_artifact,
    history_of_runs,
    open_metadata,
    previous_clips,
)
from tests.support.pages import Store


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Store:
    return Store(tmp_path / "metadata.sqlite")


def history_of(store: Store, *runs: str) -> History:
    return history_of_runs(store.store, runs)


def test_a_cached_result_appears_as_the_step_that_did_the_work(store) -> None:
    data, model = store.artifact("Examples", "/data"), store.artifact("Model", "/model")
    first = store.ran("AudioExampleGen", "t1", makes=[data])
    store.ran("AudioExampleGen", "t2", makes=[data], state=proto.Execution.CACHED)
    trainer = store.ran("Trainer", "t2", reads=[data], makes=[model])
    failed = store.artifact("Model", "/failed")
    store.ran("Trainer", "t2", reads=[data], makes=[failed], state=proto.Execution.FAILED)
    history = history_of(store, "t2")
    assert [(step.number, step.node, step.run) for step in history.steps] == [
        (first, "AudioExampleGen", "t1"),
        (trainer, "Trainer", "t2"),
    ]
    assert history.edges() == [(first, trainer)]
    assert history.last_uri("Model") == "/model"
    assert history.last_uri("PushedModel") is None


def test_side_steps_are_part_of_the_history_and_the_training_of_another_model_is_not(store) -> None:
    data = store.artifact("Examples", "/data")
    first = store.ran("AudioExampleGen", "t1", makes=[data])
    old, new = store.artifact("Model", "/old"), store.artifact("Model", "/new")
    store.ran("Trainer", "t1", reads=[data], makes=[old])
    statistics = store.artifact("ExampleStatistics", "/statistics")
    side = store.ran("StatisticsGen", "t1", reads=[data], makes=[statistics])
    second = store.ran("Trainer", "t2", reads=[data], makes=[new])
    resolver = store.ran("LatestBlessedModel", "g", finds=[new])
    clips = store.artifact("nocturne.GeneratedClips", "/clips", output="/out")
    generator = store.ran("BatchGenerator", "g", reads=[new], makes=[clips])
    history = history_of(store, "g")
    assert [step.number for step in history.steps] == [first, side, second, resolver, generator]
    assert history.edges() == [
        (first, side), (first, second), (second, resolver), (resolver, generator),
    ]  # fmt: skip


def test_the_history_of_years_of_warm_starts_is_cut_off(store) -> None:
    before = store.artifact("Model", "/0")
    store.ran("Trainer", "t0", makes=[before])
    for week in range(1, 60):
        model = store.artifact("Model", f"/{week}")
        store.ran("Trainer", f"t{week}", reads=[before], makes=[model])
        before = model
    steps = history_of(store, "t59").steps
    assert [step.run for step in steps] == [f"t{week}" for week in range(36, 60)]
    steps = history_of_artifact(store.store, before).steps
    assert [step.run for step in steps] == [f"t{week}" for week in range(60)]


def test_an_unknown_run_did_nothing(store) -> None:
    assert history_of(store, "none").steps == ()


def test_previous_clips_are_newest_first_without_this_output(store) -> None:
    for number, output in enumerate(["/a", "/b", "/a", "/c", "/d"]):
        store.artifact("nocturne.GeneratedClips", f"/clips/{number}", output=output)
    assert previous_clips(store.store, "/clips/3") == ["/a", "/b"]
    assert previous_clips(store.store, "/clips/2") == ["/b"]
    assert previous_clips(store.store, "/clips/0") == []
    assert previous_clips(store.store, "/clips/9") == []


def test_reading_needs_no_write(store, tmp_path) -> None:
    store.ran("Trainer", "t", makes=[store.artifact("Model", "/m")])
    again = open_metadata(str(tmp_path / "metadata.sqlite"))
    assert history_of_runs(again, ["t"]).last_uri("Model") == "/m"


def test_a_server_that_is_not_the_configured_one_is_not_called() -> None:
    """A manifest may come from anywhere, and the password would go there."""
    ours = MetadataSettings(kind="mysql", host="127.0.0.1", port=1)
    for named in ("mysql://nocturne@127.0.0.2:1/nocturne", ours.address.replace(":1/", ":2/")):
        with pytest.raises(LineageError, match="with that server in its section"):
            open_metadata(named, ours)

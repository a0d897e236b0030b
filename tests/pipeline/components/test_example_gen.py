"""AudioExampleGen's executor as TFX calls it, execution after execution of one pipeline."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import pytest

from audio import contract
from audio.config import AudioConfig
from beam_transforms import prepare
from beam_transforms.settings import PrepareSettings, inputs_fingerprint
from beam_transforms.sources import find_sources
from tests.support import signals
from tests.support.prepared import count_decoded, recordings, tree

# TFX and TFDV warn of their own past when they are loaded.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture
def music(tmp_path) -> pathlib.Path:
    for index in range(6):
        signals.write(tmp_path / "music" / f"{index}.wav", signals.tune(seconds=3, seed=index))
    return tmp_path / "music"


def execute(music: pathlib.Path, number: int) -> pathlib.Path:
    from tfx.dsl.components.base import base_beam_executor
    from tfx.types import standard_artifacts

    from pipeline.components.example_gen import AudioExampleGenExecutor

    node = music.parent / "root" / "AudioExampleGen"
    examples = standard_artifacts.Examples()
    examples.uri = str(node / "examples" / str(number))
    sources = find_sources([str(music)])
    properties = {
        "inputs": json.dumps([str(music)]),
        "inputs_fingerprint": inputs_fingerprint(sources),
        "audio": AudioConfig(n_mels=32).to_json(),
        "prepare": json.dumps(dataclasses.asdict(PrepareSettings(eval_share=0.3))),
        "config_yaml": "audio: {}\n",
    }
    context = base_beam_executor.BaseBeamExecutor.Context(
        beam_pipeline_args=["--runner=FnApiRunner", "--sdk_container_image=in-process"],
        tmp_dir=str(music.parent / "tmp"),
    )
    AudioExampleGenExecutor(context).Do({}, {"examples": [examples]}, properties)
    return pathlib.Path(examples.uri)


def test_a_retry_decodes_nothing_twice_though_its_folder_is_new(
    music, tmp_path, monkeypatch
) -> None:
    def broken(shard: object, **kwargs: str) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "write_shard", broken)
        with pytest.raises(Exception, match="no space left"):
            execute(music, 3)
    decoded = count_decoded(monkeypatch)
    dataset = execute(music, 4)
    assert decoded == []
    assert len(recordings(dataset)) == 6
    assert not [name for name in tree(tmp_path / "root") if "/staging/" in name]


def test_the_next_version_keeps_splits_and_decodes_what_is_new(music, monkeypatch) -> None:
    first = {row["source_uri"]: row["split"] for row in recordings(execute(music, 9))}
    for index in range(6):
        signals.write(music / f"new{index}.wav", signals.tune(seconds=3, seed=40 + index))
    decoded = count_decoded(monkeypatch)
    dataset = execute(music, 10)
    assert sorted(decoded) == [str(music / f"new{index}.wav") for index in range(6)]
    second = {row["source_uri"]: row["split"] for row in recordings(dataset)}
    assert {uri: second[uri] for uri in first} == first
    drift = json.loads((dataset / contract.DATA_CARD).read_text())["drift"]
    assert drift["recordings_added"] == 6

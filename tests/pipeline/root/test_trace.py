"""The history of a clip, on a disk and in a bucket."""

from __future__ import annotations

import json
import pathlib
import shutil
from typing import Any

import pytest

from audio.errors import LineageError
from pipeline.root.trace import trace_clip
from storage import files
from tests.support.gcs import CLIENTS, emulator

pytestmark = CLIENTS


@pytest.fixture(scope="module")
def clips(model, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    from generator import generate
    from generator.requests import GenerateSettings

    folder = tmp_path_factory.mktemp("clips") / "out"
    settings = GenerateSettings(clips=1, seconds=1, iterations=2)
    generate.run(model_path=str(model), output=str(folder), settings=settings)
    return folder


def test_a_clip_in_a_bucket_is_traced_like_one_on_a_disk(clips, tmp_path, monkeypatch) -> None:
    local = trace_clip(str(clips / "clip-0000.wav"))
    assert local["dataset"]["recordings"]
    with emulator(tmp_path, monkeypatch) as bucket:
        files.copy_tree(str(clips), f"{bucket}/clips")
        assert trace_clip(f"{bucket}/clips/clip-0000.wav") == local
        with pytest.raises(LineageError, match="no such file"):
            trace_clip(f"{bucket}/clips/clip-0001.wav")
        with pytest.raises(LineageError, match="does not list it"):
            trace_clip(f"{bucket}/clips/manifest.json")
        files.write_text(f"{bucket}/other/clip-0000.wav", "x")
        with pytest.raises(LineageError, match=r"no manifest\.json beside it"):
            trace_clip(f"{bucket}/other/clip-0000.wav")
        files.write_text(f"{bucket}/clips/clip-0000.wav", "x")
        with pytest.raises(LineageError, match=rf"was modified .*{bucket}/clips/manifest\.json"):
            trace_clip(f"{bucket}/clips/clip-0000.wav")


def test_a_clip_is_traced_in_a_folder_of_any_name(clips, tmp_path, monkeypatch) -> None:
    shutil.copytree(clips, tmp_path / "cl[i]ps *")
    monkeypatch.chdir(tmp_path / "cl[i]ps *")
    assert trace_clip("clip-0000.wav") == trace_clip(str(clips / "clip-0000.wav"))


@pytest.mark.parametrize(
    "content",
    ["", "[]", "null", "[" * 100_000, '{"clips": 5}', '{"clips": [{"file": "clip-0000.wav"}]}'],
)
def test_a_damaged_manifest_is_named(clips, tmp_path, content: Any) -> None:
    shutil.copytree(clips, tmp_path / "clips")
    (tmp_path / "clips" / "manifest.json").write_text(content)
    with pytest.raises(LineageError, match=r"manifest\.json is damaged, or of another version"):
        trace_clip(f"{tmp_path}/clips/clip-0000.wav")


def test_a_manifest_of_an_earlier_version_is_read(clips, tmp_path) -> None:
    """The verdict and the warnings were added later."""
    shutil.copytree(clips, tmp_path / "clips")
    manifest = json.loads((clips / "manifest.json").read_text())
    del manifest["verdict"], manifest["warnings"]
    (tmp_path / "clips" / "manifest.json").write_text(json.dumps(manifest))
    assert trace_clip(f"{tmp_path}/clips/clip-0000.wav") == trace_clip(f"{clips}/clip-0000.wav")

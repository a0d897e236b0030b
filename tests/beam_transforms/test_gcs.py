"""The Beam job from a bucket into a bucket, against a real server on loopback."""

from __future__ import annotations

import io
import json
import pathlib
from collections.abc import Iterator

import pytest
import soundfile

from audio import contract
from audio.config import AudioConfig
from audio.errors import InputError, OutputExistsError
from beam_transforms import prepare
from beam_transforms.settings import PrepareSettings
from beam_transforms.sources import find_sources
from storage import files
from tests.support import signals
from tests.support.gcs import CLIENTS, emulator

pytestmark = CLIENTS

AUDIO = AudioConfig(n_mels=32)
SETTINGS = PrepareSettings(chunk_frames=100, eval_share=0.25, max_rejected_share=0.5)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with (
        pytest.MonkeyPatch.context() as patch,
        emulator(tmp_path_factory.mktemp("gcs"), patch) as name,
    ):
        for index in range(4):
            buffer = io.BytesIO()
            samples = signals.tune(seconds=3 + index, seed=index)
            soundfile.write(buffer, samples, 22050, format="WAV", subtype="FLOAT")
            with files.atomic_file(f"{name}/music/a b/{index}.wav") as file:
                file.write(buffer.getvalue())
        files.write_text(f"{name}/music/bad.wav", "this is not audio")
        files.write_text(f"{name}/music/notes.txt", "nor this")
        yield name


@pytest.fixture(scope="module")
def prepared(bucket: str) -> str:
    output = f"{bucket}/prepared/dataset"
    prepare.run(
        sources=find_sources([f"{bucket}/music"]), output=output, audio=AUDIO, settings=SETTINGS
    )
    return output


def test_a_bucket_gives_the_dataset_that_a_folder_gives(prepared, tmp_path) -> None:
    for index in range(4):
        samples = signals.tune(seconds=3 + index, seed=index)
        signals.write(tmp_path / "music" / f"{index}.wav", samples, subtype="FLOAT")
    local = tmp_path / "dataset"
    prepare.run(
        sources=find_sources([str(tmp_path / "music")]),
        output=str(local),
        audio=AUDIO,
        settings=SETTINGS,
    )
    info = json.loads(files.read_text(f"{prepared}/{contract.DATASET_INFO}"))
    assert (
        info["dataset_id"] == json.loads((local / contract.DATASET_INFO).read_text())["dataset_id"]
    )
    for split in contract.SPLITS:
        name = f"{contract.split_folder(split)}/{contract.shard_name(0, 1)}"
        # Records differ by the name of their source alone.
        remote = files.size(f"{prepared}/{name}")
        here = (local / name).stat().st_size
        assert abs(remote - here) < 100 * (here // 6000 + 1)


def test_a_bad_object_is_listed(prepared, bucket) -> None:
    (line,) = files.read_text(f"{prepared}/{contract.REJECTED}").splitlines()
    row = json.loads(line)
    assert row["uri"] == f"{bucket}/music/bad.wav"
    assert "not readable as audio" in row["message"]
    assert row["bytes"] == 17


def test_nothing_of_the_work_is_left_behind(prepared) -> None:
    from apache_beam.io.filesystems import FileSystems

    found = FileSystems.match([f"{prepared}/**"])[0].metadata_list
    names = sorted(str(pathlib.PurePosixPath(one.path).name) for one in found)
    assert names == [
        "COMPLETED", "data_card.json",
        "dataset_info.json", "effective_config.yaml", "recordings.jsonl",
        contract.shard_name(0, 1), contract.shard_name(0, 1), "rejected.jsonl",
    ]  # fmt: skip


def test_a_next_version_in_the_bucket_copies_what_is_unchanged(prepared, bucket) -> None:
    sources = find_sources([f"{bucket}/music/a b"])
    output = f"{bucket}/prepared/second"
    info = prepare.run(
        sources=sources, output=output, audio=AUDIO, settings=SETTINGS, previous=prepared
    )
    before = json.loads(files.read_text(f"{prepared}/{contract.DATASET_INFO}"))
    assert info["dataset_id"] == before["dataset_id"]
    assert info["splits"] == before["splits"]


def test_a_finished_dataset_in_the_bucket_is_left_alone(prepared, bucket) -> None:
    with pytest.raises(OutputExistsError, match="finished dataset"):
        prepare.run(
            sources=find_sources([f"{bucket}/music"]), output=prepared, audio=AUDIO,
            settings=SETTINGS,
        )  # fmt: skip


def test_a_missing_prefix_is_an_error(bucket) -> None:
    with pytest.raises(InputError, match=r"not found: gs://songs/none"):
        find_sources([f"{bucket}/none"])

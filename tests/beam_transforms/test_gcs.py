"""The Beam job from a bucket to a bucket, on a storage server on loopback."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from audio import contract
from audio.errors import InputError, OutputExistsError
from beam_transforms import prepare
from beam_transforms.settings import PrepareSettings
from beam_transforms.sources import find_sources
from storage import files
from storage.dataset_files import read_info, read_rejected
from tests.support.gcs import CLIENTS, emulator
from tests.support.prepared import AUDIO

pytestmark = CLIENTS

SETTINGS = PrepareSettings(chunk_frames=100, eval_share=0.25, max_rejected_share=0.5)


@pytest.fixture(scope="module")
def bucket(tunes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with (
        pytest.MonkeyPatch.context() as patch,
        emulator(tmp_path_factory.mktemp("gcs"), patch) as url,
    ):
        files.copy_tree(str(tunes), f"{url}/music/a [b]")
        files.write_text(f"{url}/music/bad.wav", "this is not audio")
        files.write_text(f"{url}/music/notes.txt", "nor this")
        yield url


@pytest.fixture(scope="module")
def prepared(bucket: str) -> str:
    output = f"{bucket}/prepared/dataset"
    prepare.run(
        sources=find_sources([f"{bucket}/music"]), output=output, audio=AUDIO, settings=SETTINGS
    )
    return output


def test_a_bucket_gives_the_dataset_of_a_folder(prepared, tunes_dataset) -> None:
    assert read_info(prepared)["dataset_id"] == read_info(str(tunes_dataset))["dataset_id"]
    for split in contract.SPLITS:
        name = f"{contract.split_folder(split)}/{contract.shard_name(0, 1)}"
        # Records differ only by the name of their source.
        remote = files.size(f"{prepared}/{name}")
        local = (tunes_dataset / name).stat().st_size
        assert abs(remote - local) < 100 * (local // 6000 + 1)


def test_a_folder_with_brackets_in_its_name_is_no_pattern(bucket, tunes) -> None:
    names = {path.name for path in tunes.iterdir()}
    found = find_sources([f"{bucket}/music/a [b]"])
    assert {source.uri.rpartition("/")[2] for source in found} == names
    assert len(find_sources([f"{bucket}/music/a [b]/{min(names)}"])) == 1
    with pytest.raises(InputError, match="input not found"):
        find_sources([f"{bucket}/music/a b"])


def test_a_bad_object_is_rejected(prepared, bucket) -> None:
    (row,) = read_rejected(prepared)
    assert row["uri"] == f"{bucket}/music/bad.wav"
    assert "not readable as audio" in row["message"]
    assert row["bytes"] == 17


def test_no_temporary_object_is_left(prepared) -> None:
    names = sorted(pathlib.PurePosixPath(path).name for path in files.match(f"{prepared}/**"))
    assert names == [
        "COMPLETED", "data_card.json",
        "dataset_info.json", "effective_config.yaml", "recordings.jsonl",
        contract.shard_name(0, 1), contract.shard_name(0, 1), "rejected.jsonl",
    ]  # fmt: skip


def test_the_next_version_copies_unchanged_recordings(prepared, bucket) -> None:
    sources = find_sources([f"{bucket}/music/a [b]"])
    output = f"{bucket}/prepared/second"
    info = prepare.run(
        sources=sources, output=output, audio=AUDIO, settings=SETTINGS, previous=prepared
    )
    before = read_info(prepared)
    assert info["dataset_id"] == before["dataset_id"]
    assert info["splits"] == before["splits"]


def test_a_finished_dataset_is_not_changed(prepared, bucket) -> None:
    with pytest.raises(OutputExistsError, match="finished dataset"):
        prepare.run(
            sources=find_sources([f"{bucket}/music"]), output=prepared, audio=AUDIO,
            settings=SETTINGS,
        )  # fmt: skip


def test_a_missing_prefix_is_an_error(bucket) -> None:
    with pytest.raises(InputError, match=r"not found: gs://songs/none"):
        find_sources([f"{bucket}/none"])

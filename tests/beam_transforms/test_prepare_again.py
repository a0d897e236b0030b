"""Reruns, failures half-way, and later versions of a dataset."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import time
from typing import Any

import pytest

from audio import contract
from audio.errors import IncompleteError, OutputExistsError
from beam_transforms import prepare, shards, staging
from beam_transforms.settings import PrepareSettings
from tests.support import signals
from tests.support.prepared import (
    all_records,
    count_decoded,
    recordings,
    records,
    rejected,
    retry_rejected,
    run,
    tree,
)


def test_a_failure_leaves_no_marker_and_the_rerun_decodes_only_the_rest(
    music, tmp_path, monkeypatch
) -> None:
    output = tmp_path / "out"

    def fail(shard: Any, **kwargs: str) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "write_shard", fail)
        with pytest.raises(Exception, match="no space left"):
            run(music, output)
    assert not (output / contract.COMPLETED).exists()
    decoded = count_decoded(monkeypatch)
    signals.write(music / "new.wav", signals.tune(seconds=3, seed=9))
    run(music, output)
    assert decoded == [str(music / "new.wav")]
    run(music, tmp_path / "fresh")
    assert records(output) == records(tmp_path / "fresh")


def test_a_finished_output_is_not_changed(tunes, tunes_dataset) -> None:
    before = records(tunes_dataset)
    with pytest.raises(OutputExistsError, match="finished dataset"):
        run(tunes, tunes_dataset)
    assert records(tunes_dataset) == before


def test_an_output_with_other_files_is_not_changed(tunes, tmp_path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputExistsError, match="not empty"):
        run(tunes, tmp_path / "out")
    assert tree(tmp_path / "out") == ["thesis.txt"]


def test_the_next_version_decodes_only_new_files(music, tmp_path, monkeypatch) -> None:
    settings = PrepareSettings(chunk_frames=100, eval_share=0.25, shard_bytes=10_000)
    run(music, tmp_path / "v1", settings)
    first = {row["source_uri"]: row["split"] for row in recordings(tmp_path / "v1")}
    for index in range(4):
        signals.write(music / f"new{index}.wav", signals.tune(seconds=3, seed=50 + index))
    (music / "0.wav").unlink()
    decoded = count_decoded(monkeypatch)
    run(music, tmp_path / "v2", settings, previous=tmp_path / "v1")
    assert sorted(decoded) == [str(music / f"new{index}.wav") for index in range(4)]
    second = {row["source_uri"]: row["split"] for row in recordings(tmp_path / "v2")}
    assert str(music / "0.wav") not in second
    assert {uri: second[uri] for uri in first if uri in second} == {
        uri: split for uri, split in first.items() if uri in second
    }
    # Without an earlier version the records are the same, but may be in other splits.
    run(music, tmp_path / "fresh", settings)
    assert all_records(tmp_path / "v2") == all_records(tmp_path / "fresh")


def test_a_changed_file_or_setting_is_not_reused(music, tmp_path, monkeypatch) -> None:
    run(music, tmp_path / "v1")
    signals.write(music / "0.wav", signals.tune(seconds=3, seed=77), subtype="FLOAT")
    decoded = count_decoded(monkeypatch)
    run(music, tmp_path / "v2", previous=tmp_path / "v1")
    assert decoded == [str(music / "0.wav")]
    decoded.clear()
    settings = PrepareSettings(chunk_frames=50, eval_share=0.25)
    run(music, tmp_path / "v3", settings, previous=tmp_path / "v2")
    assert len(decoded) == 4


def test_an_unfinished_earlier_version_is_refused(tunes, tunes_dataset, tmp_path) -> None:
    shutil.copytree(tunes_dataset, tmp_path / "v1")
    (tmp_path / "v1" / contract.COMPLETED).unlink()
    with pytest.raises(IncompleteError, match="not a finished dataset"):
        run(tunes, tmp_path / "v2", previous=tmp_path / "v1")


def test_a_damaged_earlier_version_is_refused(tunes, tunes_dataset, tmp_path) -> None:
    shutil.copytree(tunes_dataset, tmp_path / "v1")
    (shard,) = (tmp_path / "v1" / "Split-train").iterdir()
    os.truncate(shard, shard.stat().st_size - 1)
    with pytest.raises(IncompleteError, match="is damaged: it ends at byte"):
        run(tunes, tmp_path / "v2", previous=tmp_path / "v1")


def test_only_rejected_files_are_decoded_again(music, tmp_path, monkeypatch) -> None:
    (music / "late.wav").write_text("not copied yet")
    run(music, tmp_path / "v1")
    assert set(rejected(tmp_path / "v1")) == {"late.wav"}
    signals.write(music / "late.wav", signals.tune(seconds=3, seed=31))
    decoded = count_decoded(monkeypatch)
    retry_rejected(tmp_path / "v1", tmp_path / "v2")
    assert decoded == [str(music / "late.wav")]
    assert len(recordings(tmp_path / "v2")) == 5
    assert not rejected(tmp_path / "v2")


def test_a_truncated_shard_fails_the_run(tunes, tmp_path, monkeypatch) -> None:
    write_shard = prepare.write_shard

    def write_and_truncate(shard: Any, *, output: str, **kwargs: str) -> shards.WrittenShard:
        written = write_shard(shard, output=output, **kwargs)
        os.truncate(f"{output}/Split-{written.split}/{written.name}", 100)
        return written

    monkeypatch.setattr(prepare, "write_shard", write_and_truncate)
    with pytest.raises(Exception, match=r"wanted \d+ bytes, found 100"):
        run(tunes, tmp_path / "out")
    assert not (tmp_path / "out" / contract.COMPLETED).exists()


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> tuple[pathlib.Path, pathlib.Path]:
    """A folder of 30 recordings, and their dataset."""
    folder: pathlib.Path = tmp_path_factory.mktemp("many")
    for index in range(30):
        signals.write(folder / "in" / f"{index}.wav", signals.tune(seconds=20, seed=index))
    run(folder / "in", folder / "out")
    return folder / "in", folder / "out"


@pytest.mark.slow
@pytest.mark.parametrize("staged", [1, 12, 29])
def test_a_rerun_after_sigkill_ends_in_the_same_records(many, tmp_path, staged: int) -> None:
    """The job is killed as soon as that number of files is staged."""
    inputs, expected = many
    code = (
        "import pathlib, sys\n"
        "from tests.support.prepared import run\n"
        "run(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))\n"
    )
    output = tmp_path / "out"
    command = [sys.executable, "-c", code, str(inputs), str(output)]
    with subprocess.Popen(command, cwd=pathlib.Path(__file__).parents[2]) as process:
        while len(list(output.glob(f"{staging.FOLDER}/*.json"))) < staged:
            assert process.poll() is None
            time.sleep(0.005)
        process.kill()
    assert not (output / contract.COMPLETED).exists()
    (output / ".partial-0123456789ab").write_text("of a process that was killed")
    run(inputs, output)
    assert records(output) == records(expected)
    assert tree(output) == tree(expected)

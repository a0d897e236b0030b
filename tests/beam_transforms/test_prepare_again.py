"""Reruns, failures half-way, and versions of a dataset that follow another."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest

from audio import contract
from audio.errors import IncompleteError, OutputExistsError
from beam_transforms import prepare, staging
from beam_transforms.settings import PrepareSettings
from beam_transforms.sources import find_dataset_sources
from tests.support import signals
from tests.support.prepared import (
    AUDIO,
    SETTINGS,
    all_records,
    count_decoded,
    recordings,
    records,
    rejected,
    run,
    tree,
)


def test_a_failure_leaves_no_marker_and_the_rerun_decodes_only_the_rest(
    music, tmp_path, monkeypatch
) -> None:
    output = tmp_path / "out"
    real = prepare.write_shard

    def broken(shard: Any, **kwargs: str) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "write_shard", broken)
        with pytest.raises(Exception, match="no space left"):
            run(music, output)
    assert real is prepare.write_shard
    assert not (output / contract.COMPLETED).exists()
    decoded = count_decoded(monkeypatch)
    signals.write(music / "new.wav", signals.tune(seconds=3, seed=9))
    run(music, output)
    assert decoded == [str(music / "new.wav")]
    run(music, tmp_path / "fresh")
    assert records(output) == records(tmp_path / "fresh")


def test_a_finished_output_is_left_alone(music, tmp_path) -> None:
    run(music, tmp_path / "out")
    before = records(tmp_path / "out")
    with pytest.raises(OutputExistsError, match="finished dataset"):
        run(music, tmp_path / "out")
    assert records(tmp_path / "out") == before


def test_an_output_with_other_files_is_left_alone(music, tmp_path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputExistsError, match="not empty"):
        run(music, tmp_path / "out")
    assert tree(tmp_path / "out") == ["thesis.txt"]


def test_a_next_version_costs_only_what_is_new(music, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("beam_transforms.plan.SHARD_BYTES", 10_000)
    small = PrepareSettings(chunk_frames=100, eval_share=0.25)
    run(music, tmp_path / "v1", small)
    first = {row["source_uri"]: row["split"] for row in recordings(tmp_path / "v1")}
    for index in range(4):
        signals.write(music / f"new{index}.wav", signals.tune(seconds=3, seed=50 + index))
    (music / "0.wav").unlink()
    decoded = count_decoded(monkeypatch)
    run(music, tmp_path / "v2", small, previous=tmp_path / "v1")
    assert sorted(decoded) == [str(music / f"new{index}.wav") for index in range(4)]
    second = {row["source_uri"]: row["split"] for row in recordings(tmp_path / "v2")}
    assert str(music / "0.wav") not in second
    assert {uri: second[uri] for uri in first if uri in second} == {
        uri: split for uri, split in first.items() if uri in second
    }
    # The same records as without an earlier version, but for the split that some stand in.
    run(music, tmp_path / "fresh", small)
    assert all_records(tmp_path / "v2") == all_records(tmp_path / "fresh")


def test_a_changed_file_or_front_end_is_not_reused(music, tmp_path, monkeypatch) -> None:
    run(music, tmp_path / "v1")
    signals.write(music / "0.wav", signals.tune(seconds=3, seed=77), subtype="FLOAT")
    decoded = count_decoded(monkeypatch)
    run(music, tmp_path / "v2", previous=tmp_path / "v1")
    assert decoded == [str(music / "0.wav")]
    decoded.clear()
    other = PrepareSettings(chunk_frames=50, eval_share=0.25)
    run(music, tmp_path / "v3", other, previous=tmp_path / "v2")
    assert len(decoded) == 4


def test_an_unfinished_earlier_version_is_refused(music, tmp_path) -> None:
    run(music, tmp_path / "v1")
    (tmp_path / "v1" / contract.COMPLETED).unlink()
    with pytest.raises(IncompleteError, match="not a finished dataset"):
        run(music, tmp_path / "v2", previous=tmp_path / "v1")


def test_rejected_files_alone_are_tried_again(music, tmp_path, monkeypatch) -> None:
    (music / "late.wav").write_text("not copied yet")
    run(music, tmp_path / "v1")
    assert set(rejected(tmp_path / "v1")) == {"late.wav"}
    signals.write(music / "late.wav", signals.tune(seconds=3, seed=31))
    decoded = count_decoded(monkeypatch)
    prepare.run(
        sources=find_dataset_sources(str(tmp_path / "v1")),
        output=str(tmp_path / "v2"),
        audio=AUDIO,
        settings=SETTINGS,
        previous=str(tmp_path / "v1"),
    )
    assert decoded == [str(music / "late.wav")]
    assert len(recordings(tmp_path / "v2")) == 5
    assert not rejected(tmp_path / "v2")


def test_a_shard_that_is_not_whole_is_never_called_finished(music, tmp_path, monkeypatch) -> None:
    real = prepare.write_shard

    def cut(shard: Any, *, output: str, **kwargs: str) -> prepare.WrittenShard:
        written = real(shard, output=output, **kwargs)
        os.truncate(f"{output}/Split-{written.split}/{written.name}", 100)
        return written

    monkeypatch.setattr(prepare, "write_shard", cut)
    with pytest.raises(Exception, match=r"wanted \d+ bytes, found 100"):
        run(music, tmp_path / "out")
    assert not (tmp_path / "out" / contract.COMPLETED).exists()


@pytest.mark.slow
@pytest.mark.parametrize("staged", [1, 12, 29])
def test_a_job_that_was_killed_is_finished_by_a_rerun(tmp_path, staged: int) -> None:
    """SIGKILL when so many files are staged; the rerun ends in the same records."""
    for index in range(30):
        signals.write(tmp_path / "in" / f"{index}.wav", signals.tune(seconds=20, seed=index))
    code = (
        "import pathlib, sys\n"
        "from tests.support.prepared import run\n"
        "run(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))\n"
    )
    output = tmp_path / "out"
    command = [sys.executable, "-c", code, str(tmp_path / "in"), str(output)]
    with subprocess.Popen(command, cwd=pathlib.Path(__file__).parents[2]) as process:
        while len(list(output.glob(f"{staging.FOLDER}/*.json"))) < staged:
            assert process.poll() is None
        process.kill()
    assert not (output / contract.COMPLETED).exists()
    run(tmp_path / "in", output)
    run(tmp_path / "in", tmp_path / "fresh")
    assert records(output) == records(tmp_path / "fresh")
    assert tree(output) == tree(tmp_path / "fresh")

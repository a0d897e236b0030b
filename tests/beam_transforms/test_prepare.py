"""The Beam job on real files, real FnApiRunner."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf

from audio import contract
from audio.config import AudioConfig
from audio.errors import IncompleteError, InputError, OutputExistsError, TooManyRejectedError
from audio.mel import log_mel
from beam_transforms import prepare, staging
from beam_transforms.plan import Placed
from beam_transforms.settings import PrepareSettings
from beam_transforms.sources import find_sources, replay_sources
from tests import signals

AUDIO = AudioConfig(n_mels=32)
SETTINGS = PrepareSettings(chunk_frames=100, eval_share=0.25, max_rejected_share=0.9)


def run(
    inputs: pathlib.Path,
    output: pathlib.Path,
    settings: PrepareSettings = SETTINGS,
    previous: pathlib.Path | None = None,
) -> dict[str, Any]:
    return prepare.run(
        sources=find_sources([str(inputs)]),
        output=str(output),
        audio=AUDIO,
        settings=settings,
        effective_config="audio: {}\n",
        previous=str(previous) if previous else None,
    )


def records(dataset: pathlib.Path) -> dict[str, list[dict[str, Any]]]:
    """All features of all records, in order, by file."""
    found = {}
    for path in sorted(dataset.glob("Split-*/*")):
        rows = []
        for record in tf.data.TFRecordDataset(str(path)):
            features = tf.train.Example.FromString(record.numpy()).features.feature
            rows.append({name: feature.SerializeToString() for name, feature in features.items()})
        found[str(path.relative_to(dataset))] = rows
    return found


def rejected(dataset: pathlib.Path) -> dict[str, dict[str, Any]]:
    lines = (dataset / contract.REJECTED).read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return {pathlib.Path(row["uri"]).name: row for row in rows}


def recordings(dataset: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(row) for row in (dataset / contract.RECORDINGS).read_text().splitlines()]


def all_records(dataset: pathlib.Path) -> set[tuple[tuple[str, bytes], ...]]:
    return {tuple(sorted(row.items())) for rows in records(dataset).values() for row in rows}


def tree(folder: pathlib.Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns a list that the names of files go into as they are decoded."""
    decoded: list[str] = []
    extract = staging.extract_recording

    def counted(file: Any, **kwargs: Any) -> Any:
        decoded.append(file.name)
        return extract(file, **kwargs)

    monkeypatch.setattr(staging, "extract_recording", counted)
    return decoded


@pytest.fixture
def music(tmp_path: pathlib.Path) -> pathlib.Path:
    folder = tmp_path / "music"
    for index in range(4):
        samples = signals.tune(seconds=3 + index, seed=index)
        signals.write(folder / f"{index}.wav", samples, subtype="FLOAT")
    return folder


def test_the_dataset_holds_each_recordings_frames(music, tmp_path) -> None:
    info = run(music, tmp_path / "out")
    assert tree(tmp_path / "out") == [
        "COMPLETED",
        "Split-eval/records-00000-of-00001.tfrecord",
        "Split-train/records-00000-of-00001.tfrecord",
        "data_card.json",
        "dataset_info.json",
        "effective_config.yaml",
        "recordings.jsonl",
        "rejected/rejected.jsonl",
    ]
    assert info["splits"]["train"]["recordings"] == 3
    assert info["splits"]["eval"]["recordings"] == 1
    stored: dict[str, list[np.ndarray]] = {}
    for path in (tmp_path / "out").glob("Split-*/*"):
        for record in tf.data.TFRecordDataset(str(path)):
            features = tf.train.Example.FromString(record.numpy()).features.feature
            name = features[contract.SOURCE_URI].bytes_list.value[0].decode()
            frames = np.frombuffer(features[contract.LOG_MEL].bytes_list.value[0], "<f2")
            stored.setdefault(pathlib.Path(name).stem, []).append(frames.reshape(-1, 32))
    for index in range(4):
        expected = log_mel(signals.tune(seconds=3 + index, seed=index), AUDIO)
        np.testing.assert_array_equal(
            np.concatenate(stored[str(index)]), expected.astype(np.float16)
        )


def test_no_recording_stands_in_two_splits(dataset) -> None:
    by_split = {}
    for split in contract.SPLITS:
        paths = [str(path) for path in (dataset / contract.split_folder(split)).iterdir()]
        by_split[split] = {
            tf.train.Example.FromString(record.numpy())
            .features.feature[contract.RECORDING_ID]
            .bytes_list.value[0]
            for record in tf.data.TFRecordDataset(paths)
        }
    assert len(by_split["train"]) == 4
    assert len(by_split["eval"]) == 2
    assert not by_split["train"] & by_split["eval"]


def test_two_runs_give_the_same_records_in_the_same_shards(music, tmp_path) -> None:
    small = PrepareSettings(chunk_frames=100, eval_share=0.25, shard_bytes=10_000)
    assert run(music, tmp_path / "one", small) == run(music, tmp_path / "two", small)
    first = records(tmp_path / "one")
    assert first == records(tmp_path / "two")
    assert len(first) > 2


def test_plain_functions_give_what_the_beam_job_gives(music, tmp_path) -> None:
    run(music, tmp_path / "beam")
    plain = tmp_path / "plain"
    sources = find_sources([str(music)])
    prepare.start(
        str(plain), sources, audio=AUDIO, settings=SETTINGS, effective_config="audio: {}\n"
    )
    staged = [
        staging.stage_recording(
            source, staging=str(plain / staging.FOLDER), audio=AUDIO, settings=SETTINGS
        )
        for source in reversed(sources)
    ]
    plan = prepare.plan_dataset(map(prepare.Outcome.of, staged), settings=SETTINGS)
    folder = str(plain / staging.FOLDER)
    written = [
        prepare.write_shard(shard, output=str(plain), staging_folder=folder)
        for shard in plan.shards
    ]
    prepare.finish(
        written,
        plan=plan,
        output=str(plain),
        staging_folder=folder,
        audio=AUDIO,
        settings=SETTINGS,
    )
    assert records(plain) == records(tmp_path / "beam")
    for name in (
        contract.DATASET_INFO,
        contract.DATA_CARD,
        contract.RECORDINGS,
        contract.REJECTED,
        contract.COMPLETED,
    ):
        assert (plain / name).read_text() == (tmp_path / "beam" / name).read_text()


def test_bad_files_are_listed_with_reasons_and_the_good_are_kept(music, tmp_path) -> None:
    bad = tmp_path / "bad"
    good = (music / "0.wav").read_bytes()
    bad.mkdir()
    (bad / "empty.wav").touch()
    (bad / "text.wav").write_text("this is not audio")
    (bad / "header.wav").write_bytes(good[:44])
    signals.write(bad / "silent.wav", np.zeros(44100, np.float32))
    signals.write(bad / "short.wav", signals.sine(440, seconds=0.01))
    loud = signals.sine(440, seconds=2)
    loud[7] = np.nan
    signals.write(bad / "nan.wav", loud, subtype="FLOAT")
    os.mkfifo(bad / "fifo.wav")
    (bad / "dangling.wav").symlink_to(bad / "nowhere")
    (bad / "again.wav").write_bytes(good)
    for path in music.iterdir():
        path.rename(bad / f"good {path.name}")
    info = run(bad, tmp_path / "out")
    table = rejected(tmp_path / "out")
    assert {name: (row["error"], row["stage"]) for name, row in table.items()} == {
        "empty.wav": ("AudioError", "decode"),
        "text.wav": ("AudioError", "decode"),
        "header.wav": ("AudioError", "decode"),
        "silent.wav": ("AudioError", "decode"),
        "short.wav": ("AudioError", "decode"),
        "nan.wav": ("AudioError", "decode"),
        "fifo.wav": ("AudioError", "decode"),
        "dangling.wav": ("FileNotFoundError", "open"),
        "good 0.wav": ("Duplicate", "plan"),
    }
    for name, said in {
        "empty.wav": "empty file",
        "header.wav": "not readable as audio",
        "short.wav": "too short",
        "silent.wav": "silent",
        "nan.wav": "finite",
        "fifo.wav": "not a regular file",
        "good 0.wav": "again.wav",
    }.items():
        assert said in table[name]["message"]
    assert table["text.wav"]["bytes"] == 17
    assert len(table["text.wav"]["sha256"]) == 64
    assert (info["sources"], info["rejected"], info["duplicates"]) == (13, 8, 1)
    kept = (tmp_path / "out" / contract.RECORDINGS).read_text().splitlines()
    assert len(kept) == 4


def test_too_many_rejected_files_fail_the_job_after_the_table(music, tmp_path) -> None:
    for index in range(2):
        (music / f"bad{index}.wav").write_text(f"text {index}")
    strict = PrepareSettings(max_rejected_share=0.2)
    with pytest.raises(TooManyRejectedError, match=r"2 of 6 files.*max_rejected_share=0\.2"):
        run(music, tmp_path / "out", strict)
    assert set(rejected(tmp_path / "out")) == {"bad0.wav", "bad1.wav"}
    assert not (tmp_path / "out" / contract.COMPLETED).exists()
    for index in range(2):
        (music / f"bad{index}.wav").unlink()
    run(music, tmp_path / "out", strict)
    assert (tmp_path / "out" / contract.COMPLETED).exists()


def test_nothing_usable_is_an_error(tmp_path) -> None:
    (tmp_path / "a.wav").write_text("text")
    with pytest.raises(InputError, match="none of 1 files"):
        run(tmp_path / "a.wav", tmp_path / "out")
    assert not (tmp_path / "out" / contract.COMPLETED).exists()


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


def test_the_job_counts_what_it_did(music, tmp_path) -> None:
    (music / "bad.wav").write_text("text")
    prepare.start(
        str(tmp_path / "out"),
        find_sources([str(music)]),
        audio=AUDIO,
        settings=SETTINGS,
        effective_config="",
    )
    pipeline = beam.Pipeline(runner="FnApiRunner")
    pipeline | prepare.PrepareDataset(output=str(tmp_path / "out"), audio=AUDIO, settings=SETTINGS)
    counters = pipeline.run().metrics().query()["counters"]
    assert {one.key.metric.name: one.committed for one in counters} == {
        "recordings": 4,
        "rejected": 1,
    }


def test_one_recording_goes_to_train_and_eval_is_an_empty_file(tmp_path) -> None:
    path = signals.write(tmp_path / "only.wav", signals.tune(seconds=4))
    info = run(path, tmp_path / "out")
    assert info["splits"]["eval"]["recordings"] == 0
    assert records(tmp_path / "out")["Split-eval/records-00000-of-00001.tfrecord"] == []


def test_a_next_version_costs_only_what_is_new(music, tmp_path, monkeypatch) -> None:
    small = PrepareSettings(chunk_frames=100, eval_share=0.25, shard_bytes=10_000)
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
        sources=replay_sources(str(tmp_path / "v1")),
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

    def cut(shard: Any, *, output: str, **kwargs: str) -> prepare.Written:
        written = real(shard, output=output, **kwargs)
        os.truncate(f"{output}/Split-{written.split}/{written.name}", 100)
        return written

    monkeypatch.setattr(prepare, "write_shard", cut)
    with pytest.raises(Exception, match=r"wanted \d+ bytes, found 100"):
        run(music, tmp_path / "out")
    assert not (tmp_path / "out" / contract.COMPLETED).exists()


def test_a_recording_in_two_splits_fails_the_run(music, tmp_path, monkeypatch) -> None:
    """The audit looks at what stands in the files, not at what was meant to."""
    real = prepare.write_shard

    def leaky(shard: Any, *, staging_folder: str, **kwargs: str) -> prepare.Written:
        keys = sorted(path.stem for path in pathlib.Path(staging_folder).glob("*.tfrecord"))
        everything = tuple(Placed(key, "", 0) for key in keys)
        return real(shard._replace(recordings=everything), staging_folder=staging_folder, **kwargs)

    monkeypatch.setattr(prepare, "write_shard", leaky)
    with pytest.raises(Exception, match=r"leakage: recording \w{64} stands in 2 shards"):
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
        "from tests.beam_transforms.test_prepare import run\n"
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

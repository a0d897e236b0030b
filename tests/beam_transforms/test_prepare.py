"""The Beam job on real files with the real FnApiRunner."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf

from audio import contract
from audio.errors import InputError, TooManyRejectedError
from audio.mel import log_mel
from beam_transforms import prepare, shards, staging
from beam_transforms.finish import finish_dataset
from beam_transforms.plan import PlacedRecording
from beam_transforms.settings import PrepareSettings
from beam_transforms.sources import find_sources
from tests.support import signals
from tests.support.prepared import AUDIO, SETTINGS, records, rejected, run, tree


def test_the_dataset_has_the_frames_of_each_recording(tunes_dataset) -> None:
    assert tree(tunes_dataset) == [
        "COMPLETED",
        "Split-eval/records-00000-of-00001.tfrecord",
        "Split-train/records-00000-of-00001.tfrecord",
        "data_card.json",
        "dataset_info.json",
        "effective_config.yaml",
        "recordings.jsonl",
        "rejected/rejected.jsonl",
    ]
    chunks: dict[str, list[np.ndarray]] = {}
    for path in tunes_dataset.glob("Split-*/*"):
        for record in tf.data.TFRecordDataset(str(path)):
            features = tf.train.Example.FromString(record.numpy()).features.feature
            name = features[contract.SOURCE_URI].bytes_list.value[0].decode()
            frames = np.frombuffer(features[contract.LOG_MEL].bytes_list.value[0], "<f2")
            chunks.setdefault(pathlib.Path(name).stem, []).append(frames.reshape(-1, 32))
    for index in range(4):
        expected = log_mel(signals.tune(seconds=3 + index, seed=index), AUDIO)
        np.testing.assert_array_equal(
            np.concatenate(chunks[str(index)]), expected.astype(np.float16)
        )


def test_no_recording_is_in_two_splits(dataset) -> None:
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


def test_two_runs_give_the_same_records_in_the_same_shards(tunes, tmp_path) -> None:
    settings = PrepareSettings(chunk_frames=100, eval_share=0.25, shard_bytes=10_000)
    assert run(tunes, tmp_path / "one", settings) == run(tunes, tmp_path / "two", settings)
    first = records(tmp_path / "one")
    assert first == records(tmp_path / "two")
    assert len(first) > 2


def test_plain_functions_give_the_dataset_of_the_beam_job(tunes, tunes_dataset, tmp_path) -> None:
    output = tmp_path / "out"
    sources = find_sources([str(tunes)])
    prepare.start_dataset(
        str(output), sources, audio=AUDIO, settings=SETTINGS, effective_config="audio: {}\n"
    )
    folder = str(output / staging.FOLDER)
    staged = [
        staging.stage_recording(source, staging=folder, audio=AUDIO, settings=SETTINGS)
        for source in reversed(sources)
    ]
    plan = prepare.plan_dataset(map(prepare.Outcome.of, staged), settings=SETTINGS)
    shards = [
        prepare.write_shard(shard, output=str(output), staging_folder=folder)
        for shard in plan.shards
    ]
    finish_dataset(
        shards,
        plan=plan,
        output=str(output),
        staging_folder=folder,
        audio=AUDIO,
        settings=SETTINGS,
    )
    assert records(output) == records(tunes_dataset)
    for name in (
        contract.DATASET_INFO,
        contract.DATA_CARD,
        contract.RECORDINGS,
        contract.REJECTED,
        contract.COMPLETED,
    ):
        assert (output / name).read_text() == (tunes_dataset / name).read_text()


def test_too_many_rejected_files_fail_the_job_after_it_listed_them(music, tmp_path) -> None:
    for index in range(2):
        (music / f"bad{index}.wav").write_text(f"text {index}")
    strict = PrepareSettings(max_rejected_share=0.2)
    with pytest.raises(TooManyRejectedError, match=r"2 of 6 files.*max_rejected_share=0\.2"):
        run(music, tmp_path / "out", strict)
    assert set(rejected(tmp_path / "out")) == {"bad0.wav", "bad1.wav"}
    assert not (tmp_path / "out" / contract.COMPLETED).exists()
    for index in range(2):
        (music / f"bad{index}.wav").unlink()
    info = run(music, tmp_path / "out", strict)
    assert (tmp_path / "out" / contract.COMPLETED).exists()
    assert (info["sources"], info["rejected"], info["duplicates"]) == (4, 0, 0)
    assert (info["splits"]["train"]["recordings"], info["splits"]["eval"]["recordings"]) == (3, 1)


def test_an_input_without_usable_files_is_an_error(tmp_path) -> None:
    (tmp_path / "a.wav").write_text("text")
    with pytest.raises(InputError, match="none of 1 files"):
        run(tmp_path / "a.wav", tmp_path / "out")
    assert not (tmp_path / "out" / contract.COMPLETED).exists()


def test_the_job_counts_recordings_and_rejected_files(music, tmp_path) -> None:
    (music / "bad.wav").write_text("text")
    prepare.start_dataset(
        str(tmp_path / "out"),
        find_sources([str(music)]),
        audio=AUDIO,
        settings=SETTINGS,
        effective_config="",
    )
    pipeline = beam.Pipeline(runner="FnApiRunner")
    pipeline | prepare.PrepareDataset(output=str(tmp_path / "out"), audio=AUDIO, settings=SETTINGS)
    counters = pipeline.run().metrics().query()["counters"]
    assert {counter.key.metric.name: counter.committed for counter in counters} == {
        "recordings": 4,
        "rejected": 1,
    }


def test_a_single_recording_goes_to_train_and_eval_is_an_empty_file(tmp_path) -> None:
    path = signals.write(tmp_path / "only.wav", signals.tune(seconds=4))
    info = run(path, tmp_path / "out")
    assert info["splits"]["eval"]["recordings"] == 0
    assert records(tmp_path / "out")["Split-eval/records-00000-of-00001.tfrecord"] == []


def test_a_recording_in_two_splits_fails_the_run(tunes, tmp_path, monkeypatch) -> None:
    """The check reads the shards, and does not trust the plan."""
    write_shard = prepare.write_shard

    def write_all(shard: Any, *, staging_folder: str, **kwargs: str) -> shards.WrittenShard:
        keys = sorted(path.stem for path in pathlib.Path(staging_folder).glob("*.tfrecord"))
        recordings = tuple(PlacedRecording(key, "", 0) for key in keys)
        return write_shard(
            shard._replace(recordings=recordings), staging_folder=staging_folder, **kwargs
        )

    monkeypatch.setattr(prepare, "write_shard", write_all)
    with pytest.raises(Exception, match=r"leakage: recording \w{64} is in 2 shards"):
        run(tunes, tmp_path / "out")
    assert not (tmp_path / "out" / contract.COMPLETED).exists()


def test_no_limit_of_time_leaves_strict_json(tunes, tmp_path) -> None:
    run(tunes, tmp_path / "out", PrepareSettings(max_seconds_per_file=float("inf")))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    info = json.loads((tmp_path / "out" / contract.DATASET_INFO).read_text(), parse_constant=refuse)
    assert info["prepare"]["max_seconds_per_file"] is None

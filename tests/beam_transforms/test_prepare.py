"""The Beam job on real files, real FnApiRunner."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf

from audio import contract
from audio.errors import InputError, TooManyRejectedError
from audio.mel import log_mel
from beam_transforms import prepare, staging
from beam_transforms.plan import PlacedRecording
from beam_transforms.settings import PrepareSettings
from beam_transforms.sources import find_sources
from tests.support import signals
from tests.support.prepared import (
    AUDIO,
    SETTINGS,
    records,
    rejected,
    run,
    tree,
)


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


def test_two_runs_give_the_same_records_in_the_same_shards(music, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("beam_transforms.plan.SHARD_BYTES", 10_000)
    small = PrepareSettings(chunk_frames=100, eval_share=0.25)
    assert run(music, tmp_path / "one", small) == run(music, tmp_path / "two", small)
    first = records(tmp_path / "one")
    assert first == records(tmp_path / "two")
    assert len(first) > 2


def test_plain_functions_give_what_the_beam_job_gives(music, tmp_path) -> None:
    run(music, tmp_path / "beam")
    plain = tmp_path / "plain"
    sources = find_sources([str(music)])
    prepare.start_dataset(
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
    prepare.finish_dataset(
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


def test_the_job_counts_what_it_did(music, tmp_path) -> None:
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
    assert {one.key.metric.name: one.committed for one in counters} == {
        "recordings": 4,
        "rejected": 1,
    }


def test_one_recording_goes_to_train_and_eval_is_an_empty_file(tmp_path) -> None:
    path = signals.write(tmp_path / "only.wav", signals.tune(seconds=4))
    info = run(path, tmp_path / "out")
    assert info["splits"]["eval"]["recordings"] == 0
    assert records(tmp_path / "out")["Split-eval/records-00000-of-00001.tfrecord"] == []


def test_a_recording_in_two_splits_fails_the_run(music, tmp_path, monkeypatch) -> None:
    """The audit looks at what stands in the files, not at what was meant to."""
    real = prepare.write_shard

    def leaky(shard: Any, *, staging_folder: str, **kwargs: str) -> prepare.WrittenShard:
        keys = sorted(path.stem for path in pathlib.Path(staging_folder).glob("*.tfrecord"))
        everything = tuple(PlacedRecording(key, "", 0) for key in keys)
        return real(shard._replace(recordings=everything), staging_folder=staging_folder, **kwargs)

    monkeypatch.setattr(prepare, "write_shard", leaky)
    with pytest.raises(Exception, match=r"leakage: recording \w{64} is in 2 shards"):
        run(music, tmp_path / "out")
    assert not (tmp_path / "out" / contract.COMPLETED).exists()

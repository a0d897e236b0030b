"""A small dataset made by the real job, and functions that read one."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
import tensorflow as tf

from audio.config import AudioConfig
from beam_transforms import prepare, staging
from beam_transforms.settings import PrepareSettings
from beam_transforms.sources import find_dataset_sources, find_sources
from storage.dataset_files import RecordingRow, RejectedRow, read_recordings, read_rejected

AUDIO = AudioConfig(n_mels=32)
SETTINGS = PrepareSettings(chunk_frames=100, eval_share=0.25, max_rejected_share=0.9)


def run(
    inputs: pathlib.Path,
    output: pathlib.Path,
    settings: PrepareSettings = SETTINGS,
    previous: pathlib.Path | None = None,
) -> dict[str, Any]:
    """Prepares a file or folder, and returns the dataset's info."""
    return prepare.run(
        sources=find_sources([str(inputs)]),
        output=str(output),
        audio=AUDIO,
        settings=settings,
        effective_config="audio: {}\n",
        previous=str(previous) if previous else None,
    )


def retry_rejected(dataset: pathlib.Path, output: pathlib.Path) -> dict[str, Any]:
    """Prepares the sources of a dataset again, as `nocturne prepare --retry-rejected` does."""
    return prepare.run(
        sources=find_dataset_sources(str(dataset)),
        output=str(output),
        audio=AUDIO,
        settings=SETTINGS,
        previous=str(dataset),
    )


def records(dataset: pathlib.Path) -> dict[str, list[dict[str, Any]]]:
    """Returns the features of all records, in order, by file."""
    records_by_file = {}
    for path in sorted(dataset.glob("Split-*/*")):
        rows = []
        for record in tf.data.TFRecordDataset(str(path)):
            features = tf.train.Example.FromString(record.numpy()).features.feature
            rows.append({name: feature.SerializeToString() for name, feature in features.items()})
        records_by_file[str(path.relative_to(dataset))] = rows
    return records_by_file


def rejected(dataset: pathlib.Path) -> dict[str, RejectedRow]:
    """Returns the rows of rejected.jsonl by the names of the files."""
    return {pathlib.Path(row["uri"]).name: row for row in read_rejected(str(dataset))}


def recordings(dataset: pathlib.Path) -> list[RecordingRow]:
    """Returns the rows of recordings.jsonl."""
    return list(read_recordings(str(dataset)))


def all_records(dataset: pathlib.Path) -> set[tuple[tuple[str, bytes], ...]]:
    """Returns the features of all records, in whatever file they are."""
    return {tuple(sorted(row.items())) for rows in records(dataset).values() for row in rows}


def tree(folder: pathlib.Path) -> list[str]:
    """Returns the names of all files below a folder, sorted."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns a list to which the path of each file is added when it is decoded."""
    decoded: list[str] = []
    extract = staging.extract_recording

    def extract_and_note(file: Any, **kwargs: Any) -> Any:
        decoded.append(file.name)
        return extract(file, **kwargs)

    monkeypatch.setattr(staging, "extract_recording", extract_and_note)
    return decoded
